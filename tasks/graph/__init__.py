"""The graph of work, drawn: items in what they are part of, and arrows from what is needed to what waits for it."""

from tasks.graph.mermaid import MOST as MOST_MERMAID
from tasks.graph.mermaid import mermaid
from tasks.graph.model import Drawing
from tasks.graph.read import Scope, read
from tasks.graph.svg import MOST as MOST_SVG
from tasks.graph.svg import svg

__all__ = ["MOST_MERMAID", "MOST_SVG", "Drawing", "Scope", "mermaid", "read", "svg"]
