"""Product requirements and specifications: free text that says what is to be built.

It holds no items. Its sections become items when it is run: the decomposer makes them, by the text's structure.
"""

from __future__ import annotations

import re

from models.enums import Severity
from sources.document import Document
from sources.gfm import CHECKBOX
from sources.leftovers import account
from sources.naming import PRD_TITLE, heading_words
from sources.outline import Outline

NAME = "prd"

_PRD = re.compile(r"^\W*PRD(?=\s*(?:[:—–|(-]|for\b|v?\d|$))|\bPRD\b\W*$|[(（]PRD[)）]")
_FILE = re.compile(
    r"(?:.*[\s._-])?(?:prd|srs|product[\s._-]?requirements?|requirements?[\s._-](?:spec(?:ification)?|doc(?:ument)?)|"
    r"lastenheft|pflichtenheft|cahier[\s._-]des[\s._-]charges|тз|техзадание|техническое[\s._-]задание)"
    r"(?:[\s._-].*)?\.(?:md|markdown|txt)",
    re.IGNORECASE,
)
_LOOKED_AT = 40  # lines, for a title that is no heading


def score(document: Document) -> float:
    """0.3 where its title or its file's name says so; any dialect that sees items in it goes first."""
    return 0.3 if is_named_so(document) and not CHECKBOX.search(document.text) else 0.0


def is_named_so(document: Document) -> bool:
    """Does the text's title or its file's name say that it holds requirements?"""
    title = heading_words(_title(document)[:300])
    return bool(_PRD.search(title) or PRD_TITLE.within(title) or _FILE.fullmatch(document.name[:200]))


def parse(document: Document) -> Outline:
    outline = Outline()
    account(document, outline, document.masked, "text")
    message = (
        "a requirements document: it has no items of its own, its sections become items when it is run. "
        "Write checkboxes to say yourself what they are."
    )
    outline.find("prd_sections", Severity.INFO, 1, message)
    return outline


def _title(document: Document) -> str:
    """The document's title, else its first line of text."""
    return document.title or next((line for line in document.live[:_LOOKED_AT] if line.strip()), "")
