"""Backlog.md, TaskNotes and their like: a file per task, its fields in YAML front matter.

The file is one item. Checkboxes in it are its acceptance criteria and its definition of done: they stay in the body,
under their heading, and are no items. Parent and needs are ids of other files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from models.board import Mark, ParsedItem
from models.enums import Declared, Severity
from models.words import quoted, some_of
from sources import gfm
from sources.checkbox import is_checkbox, mark_status
from sources.document import Document, heading_of
from sources.leftovers import account
from sources.masking import BULLETS, NUMBER
from sources.naming import CRITERIA, lane_of
from sources.outline import Outline
from sources.vocabulary import priority_of, status_of

NAME = "backlog_md"
MAX_FRONT_MATTER = 64 * 1024
"""Characters of front matter that are read as YAML. A task's fields are a few hundred."""

_WORK = frozenset({
    "assignee", "assignees", "dependencies", "depends_on", "depends-on", "blocked_by", "blocked-by", "blockedby",
    "parent_task_id", "parent", "priority", "milestone", "due", "due_date", "duedate", "scheduled", "ordinal",
    "reporter", "subtasks", "acceptance_criteria", "estimate", "effort", "timeestimate",
})  # fmt: skip
"""Fields that only work has; a page of a web site has an id, a title and often a status, too."""
_FILE = re.compile(r"[A-Za-z]{1,16}-\d{1,6}(?:\.\d{1,4}){0,4} - ")  # task-7.1 - Title-of-it.md
_NEEDS = ("dependencies", "depends_on", "depends-on", "dependson", "blocked_by", "blocked-by", "blockedby")
_LABELS = {
    "parent_task_id": "parent", "parent": "parent", "assignee": "owner", "assignees": "owner", "owner": "owner",
    "labels": "labels", "tags": "labels", "milestone": "milestone", "reporter": "reporter", "type": "type",
    "created_date": "created", "created": "created", "datecreated": "created", "updated_date": "updated",
    "updated": "updated", "datemodified": "updated", "completed_date": "completed", "completeddate": "completed",
    "due": "due", "due_date": "due", "duedate": "due", "scheduled": "scheduled", "recurrence": "recurrence",
    "estimate": "estimate", "effort": "estimate", "timeestimate": "estimate", "projects": "project",
    "project": "project", "contexts": "context", "ordinal": "ordinal",
    "model": "model", "backend": "backend", "recipe": "recipe",
}  # fmt: skip
_KINDS = {"epic": "epic", "feature": "feature", "story": "story"}
_CHECKED = re.compile(rf"[{re.escape(BULLETS)}\s]*(?:{NUMBER}\s+)?[\[［](?P<mark>[^\[\]［］]{{0,24}})[\]］]")
_SIMPLE = re.compile(r"(?P<key>[\w-]{1,60})[ \t]*:(?:[ \t]+(?P<value>.*))?$")
_UNPRINTABLE = re.compile(
    "[^\\t\\n\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd\\U00010000-\\U0010ffff]"
)


@dataclass(slots=True)
class _Field:
    value: Any  # texts, lists and mappings of texts: "1.10" stays what it is
    line: int
    start: int = 0  # the span of a text that stands on one line
    end: int = 0


def score(document: Document) -> float:
    front = document.front
    if "status" not in front and "parent_task_id" not in front and "dependencies" not in front:
        return 0.0
    work = not _WORK.isdisjoint(front)
    known = _status(front.get("status", "")) is not None
    if "id" in front and (
        "title" in front or _FILE.match(document.name) or (known and (work or _has_criteria(document)))
    ):
        return 0.98 if known or work else 0.0
    if "title" in front and known and work and not _other_boxes(document):
        return 0.98
    return 0.0


def parse(document: Document) -> Outline:
    end = _front_end(document)
    if not end:
        outline = gfm.parse(document)
        message = "no front matter (--- fields ---) at the top; read as a plain task list. Add id, title and status."
        outline.find("no_front_matter", Severity.WARNING, 1, message)
        return outline
    outline = Outline()
    fields = _fields(document, end, outline)
    item = _item(document, fields, outline)
    if item is not None:
        item.body = "\n\n".join(filter(None, (*_written_parts(fields), _body(document, end))))
        outline.items.append(item)
        _criteria(document, end, item, outline)
    account(document, outline, document.masked, "criterion")
    return outline


def _status(words: str) -> Declared | None:
    return status_of(words) or lane_of(words)


def _has_criteria(document: Document) -> bool:
    headings = filter(None, map(heading_of, document.live))
    return any(CRITERIA.within(title[:200]) for _, title in headings)


def _front_end(document: Document) -> int:
    """Line of the closing fence of the front matter; 0 without."""
    line = 0
    while document.masked.get(line + 1) == "front_matter":
        line += 1
    return line


def _other_boxes(document: Document) -> bool:
    """Are there checkboxes that are no criteria? Then a file without an id is a note with a list in it."""
    criteria = False
    for line in document.live:
        text = line.strip()
        if heading := heading_of(line):
            criteria = CRITERIA.within(heading[1][:200])
        elif not criteria and text and is_checkbox(text):
            return True
    return False


class _Loader(yaml.BaseLoader):
    """Texts only, so that no id becomes a number and no date is refused; no aliases, which can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="an alias (*name)", problem_mark=mark)
        return super().compose_node(parent, index)


def _fields(document: Document, end: int, outline: Outline) -> dict[str, _Field]:
    lines = document.raw[1 : end - 1]
    # What YAML would take for another line's end, or refuse, must not move the columns and lines that follow.
    text = _UNPRINTABLE.sub(" ", "\n".join(lines))
    line, problem = 1, f"it has more than {MAX_FRONT_MATTER:,} characters"
    if len(text) <= MAX_FRONT_MATTER:
        try:
            fields = _read(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 2 if mark is not None else 1
            problem = str(getattr(error, "problem", None) or "it can't be read")
        except RecursionError:
            problem = "it is nested too deeply"
        else:
            if fields is not None:
                return fields
            problem = "it is no list of fields"
    message = f"the front matter is no valid YAML ({problem}); its `key: value` lines were read. Put texts in quotes."
    outline.find("malformed_front_matter", Severity.WARNING, min(line, end), message)
    return _simple(lines)


def _read(text: str) -> dict[str, _Field] | None:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            return None
        fields: dict[str, _Field] = {}
        for key, node in root.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            field = _Field(loader.construct_object(node, deep=True), key.start_mark.line + 2)
            begin, end = node.start_mark, node.end_mark
            if (
                isinstance(node, yaml.ScalarNode)
                and begin.line == end.line
                and node.style in (None, "'", '"')
            ):
                quote = 1 if node.style else 0
                field.start, field.end = begin.column + quote, end.column - quote
            fields[key.value.lower()] = field
        return fields
    finally:
        loader.dispose()


def _simple(lines: list[str]) -> dict[str, _Field]:
    """The fields of front matter that is no YAML: `key: value` at the margin, and the list or text below it."""
    fields: dict[str, _Field] = {}
    field: _Field | None = None
    for number, line in enumerate(lines, 2):
        if match := _SIMPLE.match(line):
            value = (match["value"] or "").strip()
            start = match.start("value") if value else 0
            inner = value.strip("\"'")
            if value[:1] == "[" and value[-1:] == "]":
                field = _Field(_split(value[1:-1]), number)
            else:
                start += line[start:].find(inner) if inner else 0
                field = _Field(
                    "" if inner in ("|", ">", "|-", ">-") else inner, number, start, start + len(inner)
                )
            fields[match["key"].lower()] = field
        elif field is not None and (text := line.strip()):
            if text.startswith("- "):
                known = field.value if isinstance(field.value, list) else []
                field.value = [*known, text[2:].strip().strip("\"'")]
            elif isinstance(field.value, str) and line[:1] in " \t":
                field.value = f"{field.value} {text}".strip()
                field.start = field.end = 0
    return fields


def _split(text: str) -> list[str]:
    return [part for part in (part.strip().strip("\"'") for part in text.split(",")) if part]


def _texts(value: Any) -> list[str]:
    """A field as a list: `[a, b]`, one text, `a, b`."""
    if isinstance(value, str):
        return _split(value)
    if isinstance(value, list):
        return [text for part in value if (text := _text(part))]
    return [f"{key}: {_text(part)}" for key, part in value.items()] if isinstance(value, dict) else []


def _text(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ", ".join(_texts(value))


def _item(document: Document, fields: dict[str, _Field], outline: Outline) -> ParsedItem | None:
    texts = {key: _text(field.value) for key, field in fields.items()}
    at = next((fields[key] for key in ("title", "id", "status") if texts.get(key)), None)
    if at is None:
        message = "the front matter has neither title nor id, so the file is no item. Give it a title."
        outline.find("untitled_item", Severity.WARNING, 1, message)
        return None
    item = ParsedItem(
        line=at.line, title=texts.get("title") or document.title or texts.get("id") or document.name or "task"
    )
    item.ext_id = texts.get("id") or None
    for key in _NEEDS:
        item.needs.extend(_texts(fields[key].value) if key in fields else ())
    item.needs = [need for need in dict.fromkeys(item.needs) if need != item.ext_id]
    for key, label in _LABELS.items():
        if texts.get(key):
            item.labels.setdefault(label, texts[key])
    item.kind = _KINDS.get(item.labels.get("type", "").lower(), "task")
    if texts.get("priority"):
        item.labels["priority"] = texts["priority"]
        if (level := priority_of(texts["priority"])) is not None:
            item.priority = level
    if texts.get("status"):
        _declare(item, fields["status"], texts["status"], outline)
    return item


def _declare(item: ParsedItem, field: _Field, words: str, outline: Outline) -> None:
    if field.end > field.start:
        item.mark = Mark(field.line, field.start, field.end, "front")
    status = _status(words)
    if status is None and words.casefold() != "draft":
        message = (
            f"the status {words[:40]!r} is not known; read as todo. Use To Do, In Progress, Blocked or Done."
        )
        outline.find("unknown_status", Severity.WARNING, field.line, message)
    item.status = status or Declared.TODO


def _written_parts(fields: dict[str, _Field]) -> list[str]:
    """Texts that some tools keep among the fields instead of below them."""
    parts: list[str] = []
    for key, heading in (("description", "Description"), ("acceptance_criteria", "Acceptance Criteria")):
        if key in fields and (value := fields[key].value):
            text = (
                value.strip() if isinstance(value, str) else "\n".join(f"- {part}" for part in _texts(value))
            )
            parts.append(f"## {heading}\n\n{text}" if text else "")
    return parts


def _body(document: Document, end: int) -> str:
    """All that stands below the front matter but its comments, which only mark where the tool's sections are."""
    lines: list[str] = []
    for number in range(end + 1, len(document.raw) + 1):
        hidden = document.masked.get(number)
        line = (document.raw if hidden in ("code", "quote") else document.live)[number - 1].rstrip()
        if line or (lines and lines[-1] and hidden != "comment"):
            lines.append(line)
    return "\n".join(lines).strip("\n")


def _criteria(document: Document, end: int, item: ParsedItem, outline: Outline) -> None:
    """How many of the criteria are ticked; and whether a closed task has open ones."""
    ticked, still_open, inside = 0, [], False
    for number in range(end + 1, len(document.live) + 1):
        line = document.live[number - 1]
        if heading := heading_of(line):
            inside = CRITERIA.within(heading[1][:200])
        elif inside and "[" in line and is_checkbox(line.strip()) and (box := _CHECKED.match(line)):
            status = mark_status(box["mark"], bullet=True)
            if status is not None and not status.is_open:
                ticked += 1
            else:
                still_open.append(number)
    if total := ticked + len(still_open):
        item.labels["criteria"] = f"{ticked}/{total}"
    if item.status is Declared.DONE and still_open:
        message = (
            f"{item.ext_id or quoted(item.title)} is done, but "
            f"{some_of(len(still_open), total, 'criterion', 'criteria')} not ticked, first on line "
            f"{still_open[0]}. Tick them or reopen it."
        )
        outline.find("evidence_conflict", Severity.WARNING, item.line, message)
