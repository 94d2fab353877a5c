"""JSON that is nearly right, where there is no doubt about what was meant.

Small models write a comma after the last member, Python's words, comments, a line break within a text. Each of these
can be read in one way only, so it is put right and said. Anything else is not: an end or a quotation mark that is
missing, a name without quotation marks. These could be read in more than one way, and guessing is no check. (Libraries
that repair JSON guess: they close what was cut off, and a cut answer then looks whole. So none is used here.)
"""

from __future__ import annotations

import re

LONGEST = 1_000_000
"""Characters; a longer text is not repaired."""

COMMA = "a comma after the last member was taken out"
COMMENT = "comments were taken out"
WORDS = "True, False or None were written as JSON writes them"
BREAKS = "line breaks within texts were escaped"
QUOTES = "escaped apostrophes were written plainly"

_PYTHON = {"True": "true", "False": "false", "None": "null"}
_CLOSES = {"}": "{", "]": "["}
_CONTROL = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<text>\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<mark>[{}\[\]:,])|(?P<word>[A-Za-z]+|-?[0-9][0-9.eE+-]*)",
    re.DOTALL,
)
_INSIDE = re.compile(r"\\(.)|([\x00-\x1f])", re.DOTALL)


def mended(text: str, start: int) -> tuple[str, int, tuple[str, ...]] | None:
    """The JSON object that begins at `start`, as a strict parser reads it; where it ends; what was put right.

    None where something else than these certain faults is in the way. What comes back may still be no JSON: parse it.
    """
    if len(text) > LONGEST or not text.startswith("{", start):
        return None
    said: dict[str, None] = {}
    pieces: list[str] = []
    open_marks: list[str] = []
    comma = -1  # index in `pieces` of a comma that nothing has followed yet
    at = start
    while found := _TOKEN.match(text, at):
        at = found.end()
        kind, piece = found.lastgroup, found[0]
        if kind == "space":
            continue
        if kind == "comment":
            said[COMMENT] = None
            continue
        if kind == "text":
            inside = _text(piece[1:-1], said)
            if inside is None:
                return None
            piece = f'"{inside}"'
        elif kind == "word" and piece in _PYTHON:
            said[WORDS] = None
            piece = _PYTHON[piece]
        if piece in _CLOSES:
            if not open_marks or open_marks.pop() != _CLOSES[piece]:
                return None
            # A comma with nothing before it, too, is none that a member was forgotten after.
            if comma >= 0 and pieces[comma - 1] not in ("{", "[", ","):
                said[COMMA] = None
                del pieces[comma]
        elif piece in ("{", "["):
            open_marks.append(piece)
        comma = len(pieces) if piece == "," else -1
        pieces.append(piece)
        if not open_marks:
            return "".join(pieces), at, tuple(said)
    return None


def _text(inside: str, said: dict[str, None]) -> str | None:
    pieces = []
    at = 0
    for found in _INSIDE.finditer(inside):
        pieces.append(inside[at : found.start()])
        at = found.end()
        if found[2] is not None:
            said[BREAKS] = None
            pieces.append(_CONTROL.get(found[2]) or f"\\u{ord(found[2]):04x}")
        elif found[1] == "'":
            said[QUOTES] = None
            pieces.append("'")
        elif found[1] in '"\\/bfnrtu':
            pieces.append(found[0])
        else:
            return None
    return "".join(pieces) + inside[at:]
