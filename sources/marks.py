"""Putting a status back where a board says it: nothing but the mark changes, byte for byte. Pure.

A dialect says for each item where its mark stands and in which style (models.board.Mark); here is what each style
writes. A style that can't say a status without changing more than the mark gives None, and nothing is written.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from models.board import Mark
from models.enums import Declared
from models.errors import SourceError
from sources.document import INVISIBLE
from sources.reading import decode
from sources.vocabulary import WRITTEN, languages_of, status_of

_ENDS = re.compile(r"(\r\n|\r|\n)")
_NOTE = re.compile(
    r"\s<!-- penstock: [^<>]{0,200} -->(?=\s*$)"
)  # of an earlier write-back: there is one at most
_MARKDOWN = frozenset({"box", "state", "glyph"})
_WORDED = frozenset({"state", "cell"})

_BOXES = {
    Declared.TODO: " ",
    Declared.IN_PROGRESS: "/",
    Declared.BLOCKED: "!",
    Declared.DONE: "x",
    Declared.SKIPPED: "-",
}
_ORG_BOXES = {Declared.TODO: " ", Declared.PARTIAL: "-", Declared.DONE: "X"}
_SIGNS = {Declared.TODO: "⬜", Declared.IN_PROGRESS: "🚧", Declared.BLOCKED: "⛔", Declared.DONE: "✅"}
_JSON = {
    Declared.TODO: "pending",
    Declared.IN_PROGRESS: "in-progress",
    Declared.BLOCKED: "blocked",
    Declared.DONE: "done",
    Declared.SKIPPED: "cancelled",
}
_TAGS = {Declared.DONE: "@done", Declared.SKIPPED: "@cancelled"}


@dataclass(frozen=True, slots=True)
class Edit:
    """One mark and what it shall say; `note` is put behind the line's text as a comment, where the style allows."""

    mark: Mark
    status: Declared
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The new bytes, and the edits that could not be made because the style has no word for them."""

    data: bytes
    refused: tuple[Edit, ...]


def rewrite(data: bytes, source: str, edits: Sequence[Edit], today: date, max_bytes: int) -> Rewritten:
    """The board's bytes with these marks changed and every other byte as it was.

    Line ends, byte order mark, encoding and a missing last line end stay. Raises SourceError for bytes that can't be
    decoded and encoded again without loss: then there is nothing that could be written safely.
    """
    bom, codec = _codec(data, source, max_bytes)
    try:
        text = data[len(bom) :].decode(codec)
        lossless = bom + text.encode(codec) == data
    except UnicodeError:
        lossless = False
    if not lossless:
        raise SourceError(
            f"{source}: bytes that are not {codec} would change if it were written. Save the file as UTF-8 first."
        )
    pieces = _ENDS.split(text)  # line 1, its end, line 2, ...
    refused: list[Edit] = []
    changes: dict[int, list[tuple[int, int, str]]] = {}
    languages = _languages(pieces, edits)
    for edit in edits:
        index = 2 * (edit.mark.line - 1)
        made = _changes(pieces[index], edit, today, languages) if 0 <= index < len(pieces) else None
        if made is None:
            refused.append(edit)
        else:
            changes.setdefault(index, []).extend(made)
    for index, made in changes.items():
        line = pieces[index]
        for start, end, new in sorted(made, reverse=True):
            line = line[:start] + new + line[end:]
        pieces[index] = line
    try:
        written = bom + "".join(pieces).encode(codec)
    except UnicodeEncodeError as error:
        raise SourceError(
            f"{source}: {error.object[error.start : error.end]!r} can't be written in {codec}. "
            "Save the file as UTF-8 first."
        ) from error
    return Rewritten(written, tuple(refused))


def _codec(data: bytes, source: str, max_bytes: int) -> tuple[bytes, str]:
    for mark, name in (
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):
            return mark, name
    return b"", decode(data, source, max_bytes).encoding


def _languages(pieces: Sequence[str], edits: Sequence[Edit]) -> str:
    """The languages of the words that are to be changed, the most frequent first: a word of two languages is of that
    which the other words are of."""
    found: Counter[str] = Counter()
    for edit in edits:
        index = 2 * (edit.mark.line - 1)
        if edit.mark.style in _WORDED and 0 <= index < len(pieces):
            start, end = _column(pieces[index], edit.mark.start), _column(pieces[index], edit.mark.end)
            found.update(languages_of(pieces[index][start:end]))
    return " ".join(language for language, _ in found.most_common())


def _changes(line: str, edit: Edit, today: date, languages: str) -> list[tuple[int, int, str]] | None:
    mark = edit.mark
    style, _, word = mark.style.partition(":")
    if style in _WORDED:
        word = languages
    start, end = _column(line, mark.start), _column(line, mark.end)
    if start is None or end is None:
        return None
    writer = STYLES.get(style)
    new = writer(line[start:end], edit.status, today, word) if writer is not None else None
    if new is None:
        return None
    made = [(start, end, new)]
    if (
        style == "todo_txt"
        and (priority := re.match(r"\(([A-Z])\)", line[start:end]))
        and new.startswith("x ")
    ):
        made.append(
            (len(line.rstrip()), len(line.rstrip()), f" pri:{priority[1]}")
        )  # the format's own convention
    if edit.note and style in _MARKDOWN:
        earlier = _NOTE.search(line)
        stop = len(line.rstrip())
        made.append(
            (
                earlier.start() if earlier else stop,
                earlier.end() if earlier else stop,
                f" <!-- {edit.note} -->",
            )
        )
    return made


def _column(line: str, column: int) -> int | None:
    """Columns are counted without characters that nobody sees (sources.document)."""
    if not any(mark in line for mark in INVISIBLE):
        return column if column <= len(line) else None
    seen = 0
    for index, sign in enumerate(line):
        if sign in INVISIBLE:
            continue
        if seen == column:
            return index
        seen += 1
    return len(line) if seen == column else None


# ---- the styles: what stands there, what it shall say, today, a word that the dialect gave along, or for words the
# languages that they may be of


def _box(current: str, status: Declared, today: date, word: str) -> str | None:
    return _BOXES.get(status)


def _org_box(current: str, status: Declared, today: date, word: str) -> str | None:
    return _ORG_BOXES.get(status)


def _glyph(current: str, status: Declared, today: date, word: str) -> str | None:
    return {Declared.DONE: "☑", Declared.TODO: "☐"}.get(status)


def _words(current: str, status: Declared, today: date, word: str) -> str | None:
    """A word, sign or percentage of a status, in the language, case and emphasis that stand there."""
    inner = current.strip().strip("*_`~").strip()
    if not inner or (status_of(inner) is None and inner not in ("-", "—", "–", "?")):
        return None if inner else {**_SIGNS, Declared.SKIPPED: "➖"}.get(status)
    if inner in ("-", "—", "–", "?"):
        new = _SIGNS.get(status)
    elif re.fullmatch(r"\d{1,3}\s*%", inner):
        new = {Declared.DONE: "100%", Declared.TODO: "0%"}.get(status)
    elif not any(sign.isalnum() for sign in inner):
        new = {**_SIGNS, Declared.SKIPPED: "➖"}.get(status)
    elif pictured := _PICTURED.fullmatch(inner):
        said = _word(pictured["words"], status, word)
        new = f"{_SIGNS.get(status, '➖')} {said}" if said and status is not Declared.PARTIAL else None
    else:
        new = _word(inner, status, word)
    return current.replace(inner, new) if new is not None and status_of(new) is status else None


_PICTURED = re.compile(r"[^\w\s]{1,3}\s+(?P<words>\w.*)")


def _word(inner: str, status: Declared, likely: str) -> str | None:
    """The status in the language and case of what stands there; None where more than a status does: a date, a name."""
    languages = languages_of(inner)
    language = next((code for code in (*likely.split(), *WRITTEN) if code in languages), None)
    if language is None:
        return None
    new = WRITTEN[language][status]
    if inner.isupper():
        new = _capitals(new, language)
    elif inner[0].isupper():
        new = _capitals(new[0], language) + new[1:]
    return new.replace(" ", "_" if "_" in inner else "-" if re.fullmatch(r"\w+-\w+", inner) else " ")


def _capitals(text: str, language: str) -> str:
    return (text.replace("i", "İ") if language == "tr" else text).upper()


def _org(current: str, status: Declared, today: date, word: str) -> str | None:
    """Org knows the keywords that the file declares: the dialect gives the first of those that close an item."""
    return (word or "DONE") if status is Declared.DONE else None


def _todo_txt(current: str, status: Declared, today: date, word: str) -> str | None:
    return f"x {today.isoformat()} " if status is Declared.DONE else None


def _taskpaper(current: str, status: Declared, today: date, word: str) -> str | None:
    if (tag := _TAGS.get(status)) is None:
        return None
    return f"{'' if current.startswith('@') else ' '}{tag}({today.isoformat()})"


def _front(current: str, status: Declared, today: date, word: str) -> str | None:
    inner = current.strip().strip("\"'")
    new = {Declared.TODO: "To Do", Declared.IN_PROGRESS: "In Progress", Declared.DONE: "Done"}.get(status)
    return current.replace(inner, new) if inner and new else None


def _json(current: str, status: Declared, today: date, word: str) -> str | None:
    return _JSON.get(status)


Style = Callable[[str, Declared, date, str], str | None]

STYLES: dict[str, Style] = {
    "box": _box,
    "org_box": _org_box,
    "glyph": _glyph,
    "state": _words,
    "cell": _words,
    "org": _org,
    "todo_txt": _todo_txt,
    "taskpaper": _taskpaper,
    "front": _front,
    "json": _json,
}
