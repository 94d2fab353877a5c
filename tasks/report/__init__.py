"""The report of a run: per board what was found, done, deferred and why, with findings and citations.

`build` reads it from the database at any time, also in the middle of a run; `write` puts the same content beside
each other as Markdown for people and JSON for programs. Boards themselves are never written to.
"""

from tasks.places import shown
from tasks.report.build import build, progress
from tasks.report.drawing import Graph, draw
from tasks.report.markdown import as_markdown
from tasks.report.models import BoardReport, Counts, ItemReport, Report
from tasks.report.write import write

__all__ = [
    "BoardReport",
    "Counts",
    "Graph",
    "ItemReport",
    "Report",
    "as_markdown",
    "build",
    "draw",
    "progress",
    "shown",
    "write",
]
