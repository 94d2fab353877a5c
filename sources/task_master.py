"""claude-task-master's tasks.json: tasks with subtasks, plain or under tags, pretty-printed or on one line.

An item is a task or subtask object, at the place of its "{". Ids are "2" and "2.1"; those of another tag than `master`
have it before them ("alerts/2.1"), because each tag counts from 1.
"""

from __future__ import annotations

import json
import json.decoder
import json.scanner
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from models.board import Mark, ParsedItem
from models.enums import Declared, Severity
from sources.document import Document
from sources.leftovers import account
from sources.outline import Outline
from sources.structure import settle
from sources.vocabulary import priority_of, status_of

NAME = "task_master"
MASTER = "master"

_START = re.compile(r"\s*+(?:\{\s*+[\"}]|\[\s*+\{\s*+\")")
_TASKS = re.compile(r"\"tasks\"\s*+:\s*+\[\s*+(?P<end>\])?")
_TITLE = re.compile(r"\"title\"\s*+:")
_STATUS = re.compile(r"\"status\"\s*+:\s*+\"")
_STATUSES = {
    "pending": Declared.TODO,
    "todo": Declared.TODO,
    "in-progress": Declared.IN_PROGRESS,
    "review": Declared.IN_PROGRESS,
    "done": Declared.DONE,
    "completed": Declared.DONE,
    "deferred": Declared.BLOCKED,
    "blocked": Declared.BLOCKED,
    "cancelled": Declared.SKIPPED,
}
_TEXTS = (
    ("details", "Details"),
    ("testStrategy", "Test strategy"),
    ("acceptanceCriteria", "Acceptance criteria"),
)
_LABELS = {
    "complexity": "complexity", "complexityScore": "complexity", "assignee": "owner", "owner": "owner",
    "dueDate": "due", "created": "created", "createdAt": "created", "updated": "updated", "updatedAt": "updated",
    "completedAt": "completed", "model": "model", "backend": "backend", "recipe": "recipe",
}  # fmt: skip


def score(document: Document) -> float:
    text = "\n".join(document.raw) if _START.match("\n".join(document.raw[:5])) else ""
    if not text:
        return 0.0
    listed = text.lstrip()[:1] == "["
    tasks = _TASKS.search(text)
    if not listed and not tasks:
        return 0.0
    titled, stated = _TITLE.search(text), _STATUS.search(text)
    if titled and stated:
        return 0.9 if listed else 1.0
    if tasks is None or document.name.lower() != "tasks.json":
        return 0.0
    return 1.0 if titled or stated or tasks["end"] else 0.0  # an editor's tasks.json has labels and commands


class _Text(str):
    """A JSON string that knows where it stands: the span between its quotes."""

    start: int
    end: int


class _Object(dict[str, Any]):
    """A JSON object that knows where its "{" stands."""

    start: int


class _Decoder(json.JSONDecoder):
    """The standard decoder in its Python form, which lets its parts be replaced: these remember where they stood."""

    def __init__(self) -> None:
        super().__init__(strict=False, parse_float=str)  # the id 1.10 is not 1.1
        decoder: Any = self  # none of this is in the type stubs
        scanner: Any = json.scanner
        parts: Any = json.decoder

        def text(string: str, begin: int, strict: bool) -> tuple[_Text, int]:
            value, end = parts.scanstring(string, begin, strict)
            placed = _Text(value)
            placed.start, placed.end = begin, end - 1
            return placed, end

        def dictionary(state: tuple[str, int], *arguments: Any) -> tuple[_Object, int]:
            pairs, end = parts.JSONObject(state, *arguments)
            placed = _Object(pairs)
            placed.start = state[1] - 1
            return placed, end

        decoder.parse_string = text
        decoder.parse_object = dictionary
        decoder.scan_once = scanner.py_make_scanner(decoder)


@dataclass(slots=True)
class _Task:
    """A task or subtask object on its way to become an item."""

    value: _Object
    tag: str
    ext_id: str | None  # without the tag
    parent: _Task | None
    item: ParsedItem | None = None


class _Places:
    """From a position in the text to line and column."""

    def __init__(self, document: Document) -> None:
        self.starts = [0, *accumulate(len(line) + 1 for line in document.raw)]

    def line(self, position: int) -> int:
        return bisect_right(self.starts, position)

    def column(self, position: int) -> int:
        return position - self.starts[self.line(position) - 1]


def parse(document: Document) -> Outline:
    outline = Outline()
    document.title = ""
    document.findings.clear()  # both are about Markdown
    places = _Places(document)
    try:
        root = _Decoder().decode("\n".join(document.raw))
    except json.JSONDecodeError as error:
        _malformed(outline, error.lineno, f"{error.msg} in column {error.colno}")
    except RecursionError:
        _malformed(outline, 1, "nested too deeply")
    except ValueError as error:  # a number of thousands of digits
        _malformed(outline, 1, str(error)[:80])
    else:
        _read(root, places, outline)
    account(document, outline, {}, "code")
    return outline


def _malformed(outline: Outline, line: int, problem: str) -> None:
    message = f"not valid JSON: {problem}. Nothing was read; correct the file and run again."
    outline.find("malformed_json", Severity.ERROR, line, message)


def _read(root: Any, places: _Places, outline: Outline) -> None:
    tasks = [task for tag, objects in _lists(root) for task in _flat(tag, objects, outline, places)]
    tasks.sort(key=lambda task: task.value.start)
    tagged = {task.tag for task in tasks} - {MASTER}
    ordinals: dict[int, int] = {}
    for task in tasks:
        item = task.item = _item(task, places, outline)
        item.ordinal = ordinals.get(item.line, 0)
        ordinals[item.line] = item.ordinal + 1
        if task.ext_id is not None:
            item.ext_id = _named(task.tag, task.ext_id)
        if tagged:
            item.labels["tag"] = task.tag
        if task.parent is not None and task.parent.item is not None:
            item.parent_line, item.parent_ordinal = task.parent.item.line, task.parent.item.ordinal
        outline.items.append(item)
    _needs(tasks)
    settle(outline)
    if not tasks:
        message = "there is no task in the file: `tasks` is empty or missing. Is it the right file?"
        outline.find("no_items", Severity.INFO, 0, message)


def _lists(root: Any) -> Iterator[tuple[str, list[Any]]]:
    """Each tag with its tasks: `[...]`, `{"tasks": [...]}`, `{"<tag>": {"tasks": [...]}, ...}`."""
    if isinstance(root, list):
        yield MASTER, root
    elif isinstance(root, dict):
        for key, value in root.items():
            if key == "tasks" and isinstance(value, list):
                yield MASTER, value
            elif isinstance(value, dict) and isinstance(value.get("tasks"), list):
                yield key, value["tasks"]


def _flat(tag: str, objects: list[Any], outline: Outline, places: _Places) -> Iterator[_Task]:
    """Tasks and all that is below them; what is no object is passed over with a finding."""
    pending: list[tuple[_Task | None, Any]] = [(None, value) for value in reversed(objects)]
    before = -1
    while pending:
        parent, value = pending.pop()
        if not isinstance(value, _Object):
            line = places.line(before if before >= 0 else 0)
            message = (
                f"{str(value)[:40]!r} stands among the tasks and is no task object. Remove it or make it one."
            )
            outline.find("not_a_task", Severity.WARNING, line, message)
            continue
        before = value.start
        number = _id(value.get("id"))
        if number and parent is not None and parent.ext_id is not None:
            number = number if number.startswith(f"{parent.ext_id}.") else f"{parent.ext_id}.{number}"
        task = _Task(value, tag, number, parent)
        yield task
        below = value.get("subtasks")
        if isinstance(below, list):
            pending.extend((task, part) for part in reversed(below))


def _id(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return str(value).strip()[:80] or None


def _named(tag: str, ext_id: str) -> str:
    return ext_id if tag == MASTER else f"{tag}/{ext_id}"


def _item(task: _Task, places: _Places, outline: Outline) -> ParsedItem:
    value = task.value
    line = places.line(value.start)
    description = _text(value.get("description"))
    title = " ".join(_text(value.get("title")).split()) or description.partition("\n")[0]
    if not title:
        title = f"Task {task.ext_id or 'without id'}"
        message = (
            f"{title} has neither title nor description; nobody can tell what is to be done. Write a title."
        )
        outline.find("untitled_item", Severity.WARNING, line, message)
    item = ParsedItem(line=line, title=title, body="" if description == title else description)
    for key, heading in _TEXTS:
        if text := _text(value.get(key)):
            item.body = "\n\n".join(filter(None, (item.body, f"{heading}:\n{text}")))
    for key, label in _LABELS.items():
        if text := _text(value.get(key)):
            item.labels.setdefault(label, text)
    priority = _text(value.get("priority"))
    if (level := priority_of(priority)) is not None:
        item.priority = level
    _declare(item, value.get("status"), places, outline)
    return item


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value).strip()
    if isinstance(value, list):
        return "\n".join(f"- {text}" for part in value if (text := _text(part)))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _declare(item: ParsedItem, status: Any, places: _Places, outline: Outline) -> None:
    if not isinstance(status, _Text):
        return
    line = places.line(status.start)
    if line == places.line(status.end):
        item.mark = Mark(line, places.column(status.start), places.column(status.end), "json")
    words = str(status).strip().lower()
    known = _STATUSES.get(words.replace("_", "-").replace(" ", "-")) or status_of(words)
    if known is None:
        message = (
            f"the status {words[:40]!r} is not known; read as pending. Use pending, in-progress, review, done, "
            "deferred, blocked or cancelled."
        )
        outline.find("unknown_status", Severity.WARNING, line, message)
    item.status = known or Declared.TODO


def _needs(tasks: list[_Task]) -> None:
    """Dependencies by id. A plain number below a subtask means the task's own subtask, where there is one."""
    known = {(task.tag, task.ext_id) for task in tasks}
    for task in tasks:
        value = task.value.get("dependencies")
        if task.item is None or not isinstance(value, list):
            continue
        for need in filter(None, map(_id, value)):
            if task.parent is not None and task.parent.ext_id is not None and "." not in need:
                sibling = f"{task.parent.ext_id}.{need}"
                need = sibling if (task.tag, sibling) in known or (task.tag, need) not in known else need
            task.item.needs.append(_named(task.tag, need))
