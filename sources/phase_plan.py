"""Phase plan: `## Phase 11 — title (owner: x, updated: y)` and `- [TODO] text`.

Phases are barriers, not items: an item carries its phase as labels `phase` ("Phase 11") and `phase_order` ("0",
"1", ... in the order the phases are to run). Items outside a phase (a backlog) carry neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from models.board import ParsedItem
from models.enums import Severity
from sources.document import Document
from sources.gfm import CHECKBOX
from sources.masking import BULLETS, NUMBER
from sources.naming import COMMIT_WORDS, GOAL_WORDS
from sources.outline import Outline
from sources.phases import PhaseName, phase_of
from sources.structure import settle
from sources.vocabulary import detail_of, state_of
from sources.walk import Grammar, walk

NAME = "phase_plan"

_HEADING = re.compile(r"^ {0,3}#{1,6}[^\S\n]+(?P<title>[^\n]{1,300})", re.MULTILINE)
_STATED = re.compile(
    rf"^[^\S\n]*(?:(?:[{re.escape(BULLETS)}]|{NUMBER})[^\S\n]*[\[［【]|【)(?P<state>[^\[\]［］【】\n]{{2,24}})[\]］】](?![(\[])",
    re.MULTILINE,
)
_META = re.compile(r"[(（]([^()（）]*[:：][^()（）]*)[)）]\s*$")
_FIELD = re.compile(r"\s*(?P<key>[^:：,;]{1,30})[:：]\s*(?P<value>[^,;，；]+)")
_COMMIT = re.compile(rf"(?:[-*+]\s+)?\**(?:{COMMIT_WORDS})\**\s*[:：]\s*\**\s*(?P<value>.*)", re.IGNORECASE)
_HASH = re.compile(r"[`\[]?(?P<hash>[0-9a-f]{7,40})\b")
_GOAL = re.compile(rf"\**(?:{GOAL_WORDS})\**\s*[:：]\s*\**\s*(?P<value>.+)", re.IGNORECASE)
_GROUP = re.compile(r"\*\*(?P<name>[^*]+?)(?::\*\*|\*\*:)$")
_PATH = re.compile(r"(?<![\w./-])[\w.-]{1,64}(?:/[\w.-]{1,64}){1,12}")
_EXTENSION = re.compile(r"\.\w{1,8}$")


_SHARE = 5
"""Without phases, one line of so many has to have a state in words: one `[DONE]` makes no phase plan of a list."""
_FEWEST_STATES = 2
"""So many lines with a known state make a board of states: there other words in capitals are states, too."""


@dataclass(slots=True)
class _Phase:
    line: int
    name: str
    key: tuple[bool, tuple[int, ...], str]  # lettered phases after numbered ones; 10 before 10A before 11
    title: str
    labels: dict[str, str]
    items: list[ParsedItem] = field(default_factory=list)
    commit: str = ""


def score(document: Document) -> float:
    stated = _stated(document)
    phases = sum(phase_of(match["title"]) is not None for match in _HEADING.finditer(document.text))
    if phases and stated:
        return 0.9
    if stated and _SHARE * stated >= sum(1 for _ in CHECKBOX.finditer(document.text)):
        return 0.8
    return 0.75 if phases > 1 and CHECKBOX.search(document.text) else 0.0


def _stated(document: Document) -> int:
    return sum(state_of(match["state"]) is not None for match in _STATED.finditer(document.text))


def parse(document: Document) -> Outline:
    grammar = _PhasePlan(document)
    outline = walk(document, grammar)
    ranks = {key: rank for rank, key in enumerate(sorted({phase.key for phase in grammar.phases}))}
    for phase in grammar.phases:
        for item in phase.items:
            item.labels["phase_order"] = str(ranks[phase.key])
            if phase.commit:
                item.labels["commit"] = phase.commit
    for line, written, name in grammar.lookalikes:
        message = f"the number {written!r} has a Cyrillic letter that looks Latin; read as {name}. Retype it."
        outline.find("homoglyph_id", Severity.INFO, line, message)
    settle(outline)
    kept = {id(item) for item in outline.items}
    for phase in grammar.phases:
        phase.items = [item for item in phase.items if id(item) in kept]
    if grammar.commits_seen:
        _missing_commits(outline, grammar.phases)
    _repeated(outline, grammar.phases)
    return outline


class _PhasePlan(Grammar):
    def __init__(self, document: Document) -> None:
        self.states_required = _stated(document) >= _FEWEST_STATES
        self.phases: list[_Phase] = []
        self.phase: _Phase | None = None
        self.level = 0
        self.group = ""
        self.commits_seen = False
        self.lookalikes: list[tuple[int, str, str]] = []

    def heading(self, line: int, level: int, title: str) -> None:
        self.group = ""
        phase = phase_of(title)
        if phase is not None:
            self.level = level
            self.phase = _phase(line, phase)
            if phase.looks_alike:
                self.lookalikes.append((line, phase.written, phase.name))
            self.phases.append(self.phase)
        elif self.phase is not None and level <= self.level:
            self.phase = None
        elif self.phase is not None:
            self.group = title

    def item(self, item: ParsedItem, outline: Outline) -> None:
        if self.phase is not None:
            item.labels["phase"] = self.phase.name
            item.labels.update(self.phase.labels)
            self.phase.items.append(item)
        if self.group:
            item.labels["group"] = self.group

    def prose(self, line: int, text: str, outline: Outline) -> bool:
        if match := _COMMIT.match(text):
            self.commits_seen = True
            if self.phase is not None and (commit := _HASH.match(match["value"])):
                self.phase.commit = commit["hash"]
            return True
        if match := _GOAL.match(text):
            if self.phase is not None:
                self.phase.labels["goal"] = match["value"].strip()
            return True
        if match := _GROUP.match(text):
            self.group = match["name"].strip()
            return True
        return False


def _phase(line: int, phase: PhaseName) -> _Phase:
    title = phase.title
    labels: dict[str, str] = {}
    # the last brackets: a title may have brackets of its own
    if len(title) < 1000 and (meta := _META.search(title)):
        for field_ in _FIELD.finditer(meta[1]):
            label = detail_of(field_["key"])
            if label in ("owner", "updated"):
                labels[label] = field_["value"].strip()
        title = title[: meta.start()] if labels else title
    return _Phase(line, phase.name, phase.key, title.strip(" —–-:"), labels)


def _missing_commits(outline: Outline, phases: list[_Phase]) -> None:
    for phase in phases:
        if phase.items and not phase.commit and not any(item.status.is_open for item in phase.items):
            items = "its only item" if len(phase.items) == 1 else f"all of its {len(phase.items)} items"
            message = (
                f"{phase.name} has {items} closed but no commit recorded. "
                "Write the commit's hash below it, or reopen what is not merged."
            )
            outline.find("phase_done_without_commit", Severity.WARNING, phase.line, message)


def _repeated(outline: Outline, phases: list[_Phase]) -> None:
    """The same thing in two phases, closed in the first and open in the second: same title, or same file named."""
    seen: dict[str, tuple[_Phase, ParsedItem]] = {}
    for phase in sorted(phases, key=lambda phase: phase.key):
        for item in phase.items:
            subjects = [
                " ".join(item.title.lower().split()),
                *filter(_EXTENSION.search, _PATH.findall(item.title)),
            ]
            for subject in subjects:
                before, other = seen.setdefault(subject, (phase, item))
                if before.key != phase.key and not other.status.is_open and item.status.is_open:
                    message = (
                        f"{subject[:80]!r} is {item.status} in {phase.name}, but line {other.line} ({before.name}) "
                        f"has it {other.status}. Say what is new about it, or close it."
                    )
                    outline.find("repeated_across_phases", Severity.WARNING, item.line, message)
                    break
