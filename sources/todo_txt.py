"""todo.txt: a line is a task. `x` done, `(A)` priority, dates, `+project`, `@context`, `key:value`.

Lines that begin with # are headings or comments in many tools: no items, their text is the label `section`.
"""

from __future__ import annotations

import re
from datetime import date

from models.board import Mark, ParsedItem
from models.enums import Declared, Severity
from sources.checkbox import mark_status, odd_mark
from sources.document import Document
from sources.leftovers import account
from sources.outline import Outline
from sources.structure import settle

NAME = "todo_txt"

_DATE = r"\d{4}-\d{2}-\d{2}(?=\s|$)"
_DONE = re.compile(
    rf"(?:x|X(?=\s+\d{{4}}-))\s+(?:\((?P<a>[A-Z])\)\s+)?(?:(?P<completed>{_DATE})\s+)?(?:\((?P<b>[A-Z])\)\s+)?"
    rf"(?:(?P<created>{_DATE})\s+)?(?=\S)"
)
_OPEN = re.compile(rf"(?P<head>\((?P<a>[A-Z])\)\s+)?(?:(?P<created>{_DATE})\s+)?(?=\S)")
_BOXED = re.compile(r"(?:[-*+]\s+)?\[(?P<mark>[^\[\]]?)\]\s+(?=\S)")
_TOKEN = re.compile(
    r"(?<!\S)(?:(?P<sign>[+@])(?P<name>\S+)|(?P<key>[^\W\d_][\w-]{0,30}):(?P<value>(?!//)\S+))"
)
_LABELS = {
    "due": "due", "t": "start", "threshold": "start", "start": "start", "rec": "recurrence", "p": "parent",
    "est": "estimate",
}  # fmt: skip
_DATED = ("due", "start", "completed", "created")
_DAY = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")  # `due:tomorrow` is meant for the tool that keeps the file
_NEEDS = frozenset({"dep", "depends", "after", "needs", "blockedby", "blocked-by", "blocked_by"})

_FILE = re.compile(r"(?:.*[._-])?(?:todo|done)\.txt|.*\.todotxt", re.IGNORECASE)
_HEAD = re.compile(r"^(?:x|\([A-Z]\))[^\S\n]", re.MULTILINE)
_STRONG = re.compile(r"x\s+\d{4}-\d\d-\d\d\s|(?:.*\s)?(?:[+@][^\W\d_]|(?:due|t|rec|pri|id|dep):\S)")
_FOREIGN = re.compile(r"[-*+•|>]\s|\d{1,3}[.)]\s|#{2,6}\s|```|~~~|\[.?\]\s|[-=_*]{3,}\s*$|<")
_LOOKED_AT = 400  # lines


def score(document: Document) -> float:
    """0.96 for a file of that name, 0.9 where most lines have signs of the format and none is of another."""
    named = _FILE.fullmatch(document.name) is not None
    if not named and not _HEAD.search(document.text):
        return 0.0
    lines = [line for line in document.raw[:_LOOKED_AT] if line.strip() and not _is_comment(line)]
    foreign = sum(1 for line in lines if _FOREIGN.match(line.lstrip()) or (line[0].isspace() and not named))
    heads = sum(1 for line in lines if _HEAD.match(line))
    strong = sum(1 for line in lines if _STRONG.match(line[:2000]))
    signed = sum(1 for line in lines if _HEAD.match(line) or _STRONG.match(line[:2000]))
    if not lines or 5 * foreign > len(lines):
        return 0.0
    if named:
        plain = not foreign and all(len(line) <= 100 and not line[0].isspace() for line in lines)
        return 0.96 if signed or plain else 0.0
    listed = len(lines) > 1 and heads and 10 * foreign <= len(lines)
    return 0.9 if listed and 10 * signed >= 7 * len(lines) and 3 * strong >= len(lines) else 0.0


def parse(document: Document) -> Outline:
    outline = Outline()
    document.title = ""
    document.findings.clear()  # both are about Markdown
    section, comments = "", {}
    for number, line in enumerate(document.raw, 1):
        text = line.strip()
        if not text:
            continue
        if _is_comment(line):
            section, comments[number] = text.lstrip("#").strip()[:200], "comment"
            continue
        item = _item(number, line, text, outline)
        if section:
            item.labels["section"] = section
        outline.items.append(item)
    settle(outline)
    account(document, outline, comments, "comment")
    return outline


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _item(number: int, line: str, text: str, outline: Outline) -> ParsedItem:
    begin = len(line) - len(line.lstrip())
    item = ParsedItem(line=number, title=text)
    letter: str | None = None
    if done := _DONE.match(text):
        item.status = Declared.DONE
        rest = text[done.end() :]
        letter = done["a"] or done["b"]
        completed, created = done["completed"], done["created"]
    else:
        start = _OPEN.match(text)
        head = start["head"] if start else None
        item.mark = Mark(number, begin, begin + len(head or ""), "todo_txt")
        rest = text[start.end() :] if start else text
        letter, completed, created = (start["a"], None, start["created"]) if start else (None, None, None)
        if boxed := _BOXED.match(rest):
            rest = _boxed(item, boxed, rest, begin + len(text) - len(rest))
            odd_mark(outline, number, boxed["mark"])
    for label, value in (("completed", completed), ("created", created)):
        if value:
            item.labels[label] = value
    letter = _fields(item, rest) or letter
    for label in _DATED:
        value = item.labels.get(label)
        if value and _DAY.fullmatch(value) and not _is_day(value):
            message = f"the {label} date {value!r} is no day of the calendar. Write it as YYYY-MM-DD."
            outline.find("invalid_date", Severity.WARNING, number, message)
    if letter is not None:
        item.priority = min("ABCDE".find(letter) if letter in "ABCDE" else 4, 4)
        item.labels["priority"] = letter
    item.title = _without_fields(rest) or rest
    return item


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _boxed(item: ParsedItem, boxed: re.Match[str], rest: str, column: int) -> str:
    """Some people write `- [x] text` here, too; the box says what it says elsewhere."""
    status = mark_status(boxed["mark"], bullet=True)
    if status is None:
        return rest
    item.status = status
    start, end = column + boxed.start("mark"), column + boxed.end("mark")
    item.mark = Mark(item.line, start, end, "box")
    return rest[boxed.end() :]


def _fields(item: ParsedItem, rest: str) -> str | None:
    """Labels, id and needs from the line's words; the letter of `pri:A`, which closed lines keep."""
    letter: str | None = None
    projects: list[str] = []
    contexts: list[str] = []
    for match in _TOKEN.finditer(rest):
        if match["sign"]:
            (projects if match["sign"] == "+" else contexts).append(match["name"])
            continue
        key, value = match["key"].lower(), match["value"]
        if key == "pri" and len(value) == 1 and "A" <= value.upper() <= "Z":
            letter = value.upper()
        elif key == "id":
            item.ext_id = item.ext_id or value[:80]
        elif key in _NEEDS:
            item.needs.extend(filter(None, value.split(",")))
        else:
            item.labels.setdefault(_LABELS.get(key, key), value)
    for label, names in (("project", projects), ("context", contexts)):
        if names:
            item.labels[label] = ", ".join(dict.fromkeys(names))
    return letter


def _without_fields(rest: str) -> str:
    """The text without the fields at its end. One inside a sentence is part of it: "Call Anna about +party"."""
    words = rest.split()
    while words and _TOKEN.fullmatch(words[-1]):
        words.pop()
    return " ".join(words)
