"""Obsidian Tasks: `- [ ] text ⏫ 🔁 every week 📅 2026-01-02 🆔 a1 ⛔ b2`, and Dataview's `[due:: 2026-01-02]`.

As in the plugin, fields are read from the line's end backwards: a sign with text behind it is text. Tags may stand
between the fields and stay in the title; fields leave it.
"""

from __future__ import annotations

import re
from datetime import date

from models.board import ParsedItem
from models.enums import Declared, Severity
from models.words import quoted
from sources.document import Document
from sources.outline import Outline
from sources.structure import settle
from sources.vocabulary import detail_of, priority_of
from sources.walk import Grammar, walk

NAME = "obsidian_tasks"

_DATES = {
    **dict.fromkeys("📅📆🗓", "due"), **dict.fromkeys("⏳⌛", "scheduled"), "🛫": "start", "➕": "created",
    "✅": "completed", "❌": "cancelled", "⏰": "reminder",
}  # fmt: skip
_LEVELS = {
    "🔺": ("highest", 0),
    "⏫": ("high", 1),
    "🔼": ("medium", 2),
    "🔽": ("low", 3),
    "⏬": ("lowest", 4),
}
_NAMES = dict(_LEVELS.values())
_KEYS = {
    "due": "due", "scheduled": "scheduled", "start": "start", "created": "created", "completion": "completed",
    "completed": "completed", "cancelled": "cancelled", "reminder": "reminder", "repeat": "recurrence",
    "recurrence": "recurrence", "oncompletion": "on_completion", "id": "id", "dependson": "needs",
    "priority": "priority",
}  # fmt: skip
_DATED = frozenset({*_DATES.values()})
_ID = r"[A-Za-z0-9_-]{1,80}"
_WHEN = r"\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2})?"
_MOST = 40  # fields of one line; more are not read

# Each is tried at the end of the line's last 300 characters, so a long line costs no more than a short one.
_TAIL = 300
_FIELDS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(rf"\s*(?:{pattern})\s*\Z")
    for pattern in (
        rf"(?P<sign>[{''.join(_DATES)}])\ufe0f?\s*(?P<when>{_WHEN})",
        rf"(?P<level>[{''.join(_LEVELS)}])\ufe0f?",
        r"🔁\ufe0f?\s?(?P<every>[\w ,!]{1,100})",
        r"🏁\ufe0f?\s?(?P<ending>[A-Za-z]{1,20})",
        rf"🆔\ufe0f?\s*(?P<id>{_ID})",
        rf"⛔\ufe0f?\s*(?P<needs>{_ID}(?:\s*,\s*{_ID}){{0,30}})",
        r"\[(?P<key>[\w-]{1,30})::(?P<value>[^\[\]]{0,200})\],?",
        r"\((?P<key>[\w-]{1,30})::(?P<value>[^()]{0,200})\),?",
        r"@\{(?P<card>\d{4}-\d{2}-\d{2})\}(?:\s*@@\{\d{1,2}:\d{2}\})?",
    )
)
_TAG = re.compile(r"(?:^|\s+)(#[^\s#\[\](){}]{1,80})\s*\Z")
_BLOCK = re.compile(r"\s\^([A-Za-z0-9-]{1,60})\s*\Z")

_BOX = r"^[^\S\n]*(?:[-*+]|\d{1,9}[.)])[^\S\n]+\[[^\[\]\n]?\][^\S\n]"
_BOXES = re.compile(_BOX, re.MULTILINE)
_SIGNS = (*_DATES, *_LEVELS, "🔁", "🆔", "⛔", "::")
_FIELDED = re.compile(
    rf"{_BOX}[^\n]{{0,2000}}?(?:[📅📆🗓⏳⌛🛫➕✅❌]\ufe0f?[^\S\n]*\d{{4}}-\d{{2}}-\d{{2}}|🔁|🆔|⛔\ufe0f?[^\S\n]*[\w-]|[🔺⏫🔼🔽⏬]|"
    r"[\[(](?:due|scheduled|start|created|completion|cancelled|priority|repeat|id|dependsOn|onCompletion)::)",
    re.MULTILINE,
)


def score(document: Document) -> float:
    """By the share of checkbox lines with a field; one in ten is what a real list of chores has."""
    if not any(sign in document.text for sign in _SIGNS):
        return 0.0  # what nearly all boards end with: the pattern below looks at every checkbox
    fielded = sum(1 for _ in _FIELDED.finditer(document.text))
    if not fielded:
        return 0.0
    return 0.8 if 10 * fielded >= sum(1 for _ in _BOXES.finditer(document.text)) else 0.55


def parse(document: Document) -> Outline:
    outline = walk(document, _ObsidianTasks())
    settle(outline)
    return outline


class _ObsidianTasks(Grammar):
    def item(self, item: ParsedItem, outline: Outline) -> None:
        take_fields(item, outline)


def take_fields(item: ParsedItem, outline: Outline) -> None:
    """Move the fields at the title's end to where they belong: labels, priority, id and needs."""
    title, tags = item.title, list[str]()
    if block := _BLOCK.search(title, max(0, len(title) - 64)):
        item.labels["block"] = block[1]
        title = title[: block.start()]
    for _ in range(_MOST):
        start = max(0, len(title) - _TAIL)
        if tag := _TAG.search(title, start):
            tags.append(tag[1])
            title = title[: tag.start()]
            continue
        match = next((found for field in _FIELDS if (found := field.search(title, start))), None)
        if match is None or not _take(item, outline, match):
            break
        title = title[: match.start()]
    kept = [tag for tag in reversed(tags) if tag != "#task"]  # the plugin's own mark of what is a task
    title = " ".join([title.strip().removeprefix("#task ").strip(), *kept]).strip()
    item.title = title or item.title
    _contradiction(item, outline)


def _take(item: ParsedItem, outline: Outline, match: re.Match[str]) -> bool:
    groups = match.groupdict()
    if "sign" in groups:
        return _label(item, outline, _DATES[groups["sign"]], groups["when"])
    if "level" in groups:
        name, item.priority = _LEVELS[groups["level"]]
        item.labels["priority"] = name
        return True
    if "key" in groups:
        key = groups["key"].lower()
        label = _KEYS.get(key) or detail_of(key) or key
        return _label(item, outline, label, groups["value"].strip())
    if "card" in groups:
        return _label(item, outline, "due", groups["card"])
    named: tuple[tuple[str, str], ...] = (
        ("every", "recurrence"),
        ("ending", "on_completion"),
        ("id", "id"),
        ("needs", "needs"),
    )
    return any(
        _label(item, outline, label, groups[group].strip()) for group, label in named if group in groups
    )


def _label(item: ParsedItem, outline: Outline, label: str, value: str) -> bool:
    """One field into the item. False for an empty one: it stays in the text."""
    if not value:
        return False
    if label == "id":
        item.ext_id = item.ext_id or value[:80]
        return True
    if label == "needs":
        item.needs.extend(name.strip() for name in value.split(",") if name.strip())
        return True
    item.labels.setdefault(label, value)
    if label == "priority":
        level = _NAMES.get(value.lower(), priority_of(value))
        item.priority = item.priority if level is None else level
    if label in _DATED and not _is_date(value[:10]):
        message = f"the {label} date {value[:40]!r} is no day of the calendar. Write it as YYYY-MM-DD."
        outline.find("invalid_date", Severity.WARNING, item.line, message)
    return True


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _contradiction(item: ParsedItem, outline: Outline) -> None:
    """A day on which it was done, and a mark that says it is not."""
    for label, status in (("completed", Declared.DONE), ("cancelled", Declared.SKIPPED)):
        if label in item.labels and item.status.is_open:
            message = (
                f"{quoted(item.title)} is {item.status}, but it has a {label} date ({item.labels[label][:20]}). "
                f"Mark it {status}, or take the date out."
            )
            outline.find("evidence_conflict", Severity.WARNING, item.line, message)
