"""TaskPaper: `Project:` lines, `- task @tag(value)`, notes, one below another by tabs. PlainTasks (`☐ task`), too.

A project is no item: it is the label `project` of what stands below it. Tags say the status: @done, @cancelled,
@blocked, @doing and their like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from models.board import Mark, ParsedItem
from models.enums import Declared, Severity
from models.words import quoted
from sources.checkbox import mark_status, odd_mark
from sources.document import Document
from sources.leftovers import account
from sources.masking import indent_of
from sources.outline import Outline
from sources.structure import settle
from sources.vocabulary import priority_of, state_of

NAME = "taskpaper"

_OPEN_SIGNS, _DONE_SIGNS, _SKIPPED_SIGNS = "☐□⬜🔲❑❒◻▢", "✔✓☑✅🗹", "✘✗✖☒"
_SIGNS = _OPEN_SIGNS + _DONE_SIGNS + _SKIPPED_SIGNS
_TASK = re.compile(
    rf"(?:(?P<bullet>[-*+])\s+)?(?:(?P<glyph>[{_SIGNS}])\ufe0f?(?:\s+|$)|\[(?P<mark>[^\[\]]?)\](?:\s+|$))?(?P<text>.*)",
    re.DOTALL,
)
_TAG = re.compile(r"(?<!\S)@(?P<name>[\w.-]{1,60})(?:\((?P<value>(?:\\.|[^()\\])*+)\))?(?=\s|$)")
_STATES = {
    **dict.fromkeys(("done", "completed", "complete", "finished"), Declared.DONE),
    **dict.fromkeys(("cancelled", "canceled", "dropped", "wontdo", "skipped"), Declared.SKIPPED),
    **dict.fromkeys(("blocked", "waiting", "wait", "hold", "onhold", "on-hold", "paused"), Declared.BLOCKED),
    **dict.fromkeys(
        ("doing", "inprogress", "in-progress", "in_progress", "started", "active", "wip", "working"),
        Declared.IN_PROGRESS,
    ),
}
_WEIGHT = (
    Declared.DONE,
    Declared.SKIPPED,
    Declared.BLOCKED,
    Declared.PARTIAL,
    Declared.IN_PROGRESS,
    Declared.TODO,
)
"""A task that is @started and @done is done."""
_MARKS = {"glyph": "glyph", "mark": "box"}
_LABELS = {"due": "due", "start": "start", "defer": "start", "estimate": "estimate", "est": "estimate",
           "owner": "owner", "assignee": "owner", "repeat": "recurrence", "project": "project"}  # fmt: skip
_NEEDS = frozenset(
    {"depends", "dependson", "needs", "requires", "after", "blockedby", "blocked-by", "blocked_by"}
)

_FILES = (".taskpaper", ".todo", ".todos", ".tasks")
_TAGGED = re.compile(
    r"^[^\S\n]*-[^\S\n]+[^\n]{0,2000}\s@(?:\w{1,60}\(|(?:done|today|flag|waiting|next|due)\b)", re.MULTILINE
)
_ANY = re.compile(rf"[^\S\n]*(?:[-{_SIGNS}]\s|\[.?\]\s)|[^\n]{{0,200}}:\s*$")
_LOOKED_AT = 400  # lines


def score(document: Document) -> float:
    """0.97 for a file of that name, 0.9 where tagged tasks stand below projects by tabs and nothing of Markdown,
    0.75 without the tabs."""
    lines = [line for line in document.raw[:_LOOKED_AT] if line.strip()]
    name = document.name.lower()
    if name.endswith(_FILES) and any(_ANY.match(line) for line in lines):
        return 0.97 if name.endswith(_FILES[0]) or not any(map(_is_heading, lines)) else 0.0
    if not _TAGGED.search(document.text) or any(_is_heading(line) or "[ ]" in line for line in lines):
        return 0.0
    tasks = sum(line.lstrip().startswith("- ") for line in lines)
    tagged = sum(_TAGGED.match(line) is not None for line in lines)
    projects = sum(_project(line.strip()) is not None for line in lines)
    if not projects or 4 * tagged < tasks:
        return 0.0
    return 0.9 if any(line.startswith("\t- ") for line in lines) else 0.75


def _is_heading(line: str) -> bool:
    return line.startswith(("# ", "## ", "### ", "#### "))


def parse(document: Document) -> Outline:
    reader = _Reader()
    document.title = ""
    document.findings.clear()  # both are about Markdown
    for number, line in enumerate(document.raw, 1):
        if text := line.strip():
            reader.feed(number, line, text)
    outline = reader.finish()
    settle(outline)
    account(document, outline, {}, "text")
    return outline


def _project(text: str) -> str | None:
    """Name of a project line, tags or not; None for any other line."""
    if text.startswith("- ") or ":" not in text:
        return None
    name = _TAG.sub("", text).rstrip() if "@" in text else text
    return name[:-1].strip() or None if name.endswith(":") else None


@dataclass(slots=True)
class _Level:
    column: int
    project: str = ""
    item: ParsedItem | None = None


@dataclass(slots=True)
class _Reader:
    outline: Outline = field(default_factory=Outline)
    stack: list[_Level] = field(default_factory=list)
    flat: _Level | None = None  # a project whose tasks are not indented
    bodies: dict[int, list[str]] = field(default_factory=dict)

    def feed(self, number: int, line: str, text: str) -> None:
        begin = len(line) - len(line.lstrip())
        column = indent_of(line[:begin])
        task = _task_of(text)
        project = _project(text) if task is None else None
        while self.stack and self.stack[-1].column >= column:
            level = self.stack.pop()
            if level.project and level.column == column and project is None:
                self.flat = level
        if project is not None:
            self.flat = None if self.flat is not None and self.flat.column >= column else self.flat
            self.stack.append(_Level(column, project))
        elif task is not None:
            self._task(number, column, begin, line.rstrip(), *task)
        elif owner := self._item_above():
            self.bodies.setdefault(owner.line, []).append(text)

    def _item_above(self) -> ParsedItem | None:
        return next((level.item for level in reversed(self.stack) if level.item is not None), None)

    def _task(
        self,
        number: int,
        column: int,
        begin: int,
        line: str,
        match: re.Match[str],
        group: str,
        status: Declared,
    ) -> None:
        offset = match.end("bullet") if group == "bullet" else match.start("text")
        text = match.string[offset:]
        tags = list(_TAG.finditer(text))
        title = _without_tags(text, tags)
        if not title:
            message = f"{quoted(line.strip())} has no text, so it is no item. Write what is to be done."
            self.outline.find("empty_item", Severity.INFO, number, message)
            return
        item = ParsedItem(line=number, title=title, status=status)
        item.mark = Mark(number, len(line), len(line), "taskpaper")
        if style := _MARKS.get(group):
            item.mark = Mark(number, begin + match.start(group), begin + match.end(group), style)
            odd_mark(self.outline, number, match[group])
        self._tags(item, tags, begin + offset)
        project = next((level.project for level in reversed(self.stack) if level.project), "")
        if not project and self.flat is not None and self.flat.column <= column:
            project = self.flat.project
        if project:
            item.labels.setdefault("project", project)
        if parent := self._item_above():
            item.parent_line = parent.line
        self.stack.append(_Level(column, item=item))
        self.outline.items.append(item)

    def _tags(self, item: ParsedItem, tags: list[re.Match[str]], offset: int) -> None:
        plain: list[str] = []
        said: dict[Declared, re.Match[str]] = {}
        for tag in tags:
            name, value = tag["name"].lower(), (tag["value"] or "").strip()
            state = _STATES.get(name) or state_of(name)
            if state is not None and state is not Declared.TODO:  # @next, @open and their like are words
                said.setdefault(state, tag)
                if value:
                    item.labels["completed" if state is Declared.DONE else name] = value
            elif name == "id" and value:
                item.ext_id = value[:80]
            elif name in _NEEDS and value:
                item.needs.extend(part.strip() for part in value.split(",") if part.strip())
            elif name == "priority" and value:
                item.labels["priority"] = value
                item.priority = _level(value, item.priority)
            elif value:
                item.labels[_LABELS.get(name, name)] = value
            else:
                plain.append(tag["name"])
                if (level := priority_of(name)) is not None:
                    item.priority = level
        if plain:
            item.labels["tags"] = ", ".join(dict.fromkeys(plain))
        if state := next((state for state in _WEIGHT if state in said), None):
            item.status = state
            tag = said[state]
            item.mark = Mark(item.line, offset + tag.start(), offset + tag.end(), "taskpaper")

    def finish(self) -> Outline:
        for item in self.outline.items:
            item.body = "\n".join(self.bodies.get(item.line, ()))
        return self.outline


def _task_of(text: str) -> tuple[re.Match[str], str, Declared] | None:
    """The parts of a task's line, which of them makes it one, and the status that this says; None for a note."""
    match = _TASK.match(text)
    if match is None:
        return None
    if glyph := match["glyph"]:
        done = Declared.DONE if glyph in _DONE_SIGNS else Declared.SKIPPED
        return match, "glyph", Declared.TODO if glyph in _OPEN_SIGNS else done
    if match["mark"] is not None and (status := mark_status(match["mark"], bullet=True)) is not None:
        return match, "mark", status
    return (match, "bullet", Declared.TODO) if match["bullet"] == "-" else None


def _level(value: str, otherwise: int) -> int:
    """1 is the highest of TaskPaper's priorities."""
    if value.isdecimal():
        return max(0, min(int(value[:4]) - 1, 4))
    level = priority_of(value)
    return otherwise if level is None else level


def _without_tags(text: str, tags: list[re.Match[str]]) -> str:
    """The text without the tags at its end; one inside a sentence is part of it."""
    end = len(text.rstrip())
    for tag in reversed(tags):
        if tag.end() != end:
            break
        end = len(text[: tag.start()].rstrip())
    return text[:end].strip()
