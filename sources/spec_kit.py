"""Spec Kit's tasks.md: `- [ ] T001 [P] [US1] text` below `## Phase N: title` headings.

Phases are barriers, not items. Inside a phase a task without [P] waits for all that stands before it, back to the last
one without [P]; a task with [P] waits for that one only. What the format, the dependencies and the examples of the file
say is no item; what the dependencies say of tasks by their ids becomes needs.
"""

# ruff: noqa: E501 (tables of words read better wide)

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from models.board import NotItem, ParsedItem
from models.enums import Severity
from sources.document import Document, heading_of
from sources.naming import GOAL_WORDS
from sources.outline import Outline
from sources.phases import phase_of
from sources.structure import settle
from sources.vocabulary import NEEDS_SIGNS, NEEDS_WORDS, priority_of
from sources.walk import Grammar, walk

NAME = "spec_kit"

_BOX = r"^[^\S\n]*(?:[-*+]|\d{1,9}[.)])[^\S\n]+\[[^\[\]\n]?\][^\S\n]+"
_BOXES = re.compile(_BOX + r"\S", re.MULTILINE)
_TASKS = re.compile(_BOX + r"\*{0,2}T\d{2,5}[a-z]?\b", re.MULTILINE)
_TASK = re.compile(
    r"\*{0,2}(?P<id>T(?:\d{2,5}[a-z]?|X{2,4}|N{2,4}))\*{0,2}\s*[:.—–-]?\s*"
    r"(?P<flags>(?:\[(?:P|(?:US|Story)[\s-]?\d{1,3}(?:\s*,\s*US\d{1,3}){0,9}|[A-Z]{1,10}\d{0,3})\]\s*){0,4})(?P<title>.*)",
    re.DOTALL,
)
_STORY = re.compile(r"\[((?:US|Story)[\s-]?\d{1,3}[^\]]{0,60})\]")
_IDS = re.compile(
    r"T(?P<first>\d{2,5})(?P<letter>[a-z]?)(?:\s*(?:-|–|—|\.\.|to|bis|à|al?|до|по)\s*T?(?P<last>\d{2,5})\b)?"
)
_SAYS_NEEDS = re.compile(rf"(?:{NEEDS_WORDS})\b|{NEEDS_SIGNS}|needs\b|abhängig\b", re.IGNORECASE)
_SAYS_BEFORE = re.compile(
    r"\b(?:before|blocks?|blocking|precedes?|vor|blockiert|blockieren|avant|bloquent?|antes\s+de|bloquean?|antes\s+d[eo]|bloqueiam?|"
    r"prima\s+di|blocca(?:no)?|voor|blokkeert|przed|blokuje|önce|до|перед|блокирует|блокуют?ь?)\b|→|->|先于|阻塞|前に|ブロック",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"[(（]([^()（）]{1,200})[)）]")
_PRIORITY = re.compile(r"[(（][^()（）]{0,40}\bP(?P<level>[0-4])\b[^()（）]{0,20}[)）]")
_GOAL = re.compile(rf"\**(?:{GOAL_WORDS})\**\s*[:：]\s*\**\s*(?P<value>.+)", re.IGNORECASE)
_DEPENDENCIES = re.compile(
    r"dependenc|execution order|dependencia|dependência|dépendance|abhängigkeit|dipendenz|afhankelijk|zależności|bağımlılık|"
    r"зависимост|залежност|порядок|依赖|依存|의존",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"\W*(?:(?:format|formato|formaat|формат|格式|形式|형식)\s*(?:[:：(（].*)?$"
    r"|(?:notes?|notas?|notizen|hinweise?|remarques?|note|заметки|примечани[ея]|примітки|说明|备注|注意|備考|참고)\W*$"
    r"|path convention|parallel (?:example|execution|opportunit)|implementation strategy|task generation|execution flow|"
    r"table of contents|convenci[oó]n(?:es)? de ruta|ejemplos? (?:de ejecución |de tareas )?(?:en )?paralel|estrategia de impl|"
    r"conventions? de chemin|exemples? (?:d'exécution )?parall|stratégie d|pfadkonvention|parallel\w* beispiel|beispiel\w* .{0,20}parallel|"
    r"umsetzungsstrategie|convenç\w+ de caminho|exemplos? (?:de execução )?(?:em )?paralel|estratégia de impl|convenzion\w+ d\w+ percors|"
    r"esempi\w* .{0,20}parallel|strategia di|соглашени\w+ о пут|пример\w* параллел|стратеги\w+ реализ|приклад\w* паралел|"
    r"路径约定|并行示例|并行执行|实施策略|パス規約|並列例|並列実行|実装戦略|경로 규칙|병렬 예시|구현 전략)",
    re.IGNORECASE,
)
_TEMPLATE = re.compile(r"\[feature[ _]name\]|\{feature[ _]name\}", re.IGNORECASE)
_FILL_IN = re.compile(r"\[[A-Z][^\[\]]{2,80}\]")  # "[Task description with file path]"
_MOST_IDS = 200  # of one range


def score(document: Document) -> float:
    tasks = sum(1 for _ in _TASKS.finditer(document.text))
    if not tasks:
        return 0.0
    share = tasks / max(1, sum(1 for _ in _BOXES.finditer(document.text)))
    return 0.96 * min(1.0, 2 * share) if tasks > 1 or "[P]" in document.text else 0.7


def parse(document: Document) -> Outline:
    grammar = _SpecKit()
    outline = walk(document, grammar)
    _drop(outline, grammar, _TEMPLATE.search(document.title) is not None)
    kept = {id(item) for item in outline.items}
    phases = [[task for task in phase.tasks if id(task.item) in kept] for phase in grammar.phases]
    barriers = sum(phase.is_phase for phase in grammar.phases) > 0
    order = 0
    counts = Counter(item.ext_id for item in outline.items)
    for phase, tasks in zip(grammar.phases, phases, strict=True):
        _in_order(tasks, counts)
        if tasks and barriers and (phase.is_phase or order):
            for task in tasks:
                task.item.labels["phase_order"] = str(order)
            order += 1
        else:
            for task in tasks:
                task.item.labels.pop("phase", None)
    known = {
        item.ext_id: item for item in reversed(outline.items) if item.ext_id
    }  # of a copied id, the first
    _said(document, known, grammar.dependencies)
    settle(outline)
    return outline


@dataclass(slots=True)
class _Task:
    item: ParsedItem
    parallel: bool


@dataclass(slots=True)
class _Phase:
    name: str
    is_phase: bool  # else a section beside the phases, such as "Final polish"
    goal: str = ""
    priority: int | None = None
    tasks: list[_Task] = field(default_factory=list)


class _SpecKit(Grammar):
    def __init__(self) -> None:
        self.phases: list[_Phase] = [_Phase("", False)]
        self.level = 0  # of the headings of phases
        self.about = ""  # why checkboxes here are no items
        self.about_level = 0
        self.dropped: dict[int, str] = {}
        self.dependencies: list[int] = []  # lines of headings

    def heading(self, line: int, level: int, title: str) -> None:
        phase = phase_of(title)
        if phase is not None or level <= self.about_level:
            self.about, self.about_level = "", 0
        if phase is None and not self.about:
            if _DEPENDENCIES.search(title):
                self.about, self.about_level = "legend", level
                self.dependencies.append(line)
            elif _ABOUT.match(title[:200]):
                self.about, self.about_level = "template", level
        if self.about:
            return
        if phase is not None:
            self.level = level
            self.phases.append(_Phase(phase.name, True))
        elif level <= (self.level or 2):
            self.phases.append(_Phase(title, False))
        else:
            return
        if match := _PRIORITY.search(title[:300]):
            self.phases[-1].priority = priority_of(f"P{match['level']}")

    def item(self, item: ParsedItem, outline: Outline) -> None:
        if self.about:
            self.dropped[item.line] = self.about
            return
        match = _TASK.match(item.title)
        phase = self.phases[-1]
        if match is None:
            if item.parent_line is None and phase.name:
                self._label(item, phase)
                phase.tasks.append(_Task(item, False))
            return
        item.ext_id = match["id"]
        flags = match["flags"]
        item.title = match["title"].strip() or item.title
        item.needs.clear()  # of its own kind of id: read again below
        if story := _STORY.search(flags):
            item.labels["story"] = story[1].strip()
        if "[P]" in flags:
            item.labels["parallel"] = "true"
        if "X" in item.ext_id or "N" in item.ext_id or _FILL_IN.fullmatch(item.title):
            self.dropped[item.line] = "placeholder"
            return
        self._label(item, phase)
        if item.parent_line is None:
            phase.tasks.append(_Task(item, "[P]" in flags))

    def _label(self, item: ParsedItem, phase: _Phase) -> None:
        if phase.name:
            item.labels["phase"] = phase.name
        if phase.goal:
            item.labels["goal"] = phase.goal
        if phase.priority is not None and item.priority == 2:
            item.priority = phase.priority

    def prose(self, line: int, text: str, outline: Outline) -> bool:
        if not self.about and (match := _GOAL.match(text)):
            self.phases[-1].goal = match["value"].strip()
            return True
        return False


def _drop(outline: Outline, grammar: _SpecKit, is_template: bool) -> None:
    """What only shows or explains how tasks are written leaves the items, and is accounted for."""
    dropped = grammar.dropped
    if is_template and outline.items:
        dropped |= {item.line: "template" for item in outline.items}
        message = (
            f"the file is Spec Kit's template as it is delivered: its {len(outline.items)} tasks are samples, no "
            "items. Fill it in first."
        )
        outline.find("template_section", Severity.INFO, 1, message)
    elif placeholders := [item for item in outline.items if dropped.get(item.line) == "placeholder"]:
        first = placeholders[0]
        message = (
            f"{len(placeholders)} task(s) still have a placeholder ({first.ext_id} {first.title[:40]!r}), so "
            "they are no items. Number them and say what is to be done."
        )
        outline.find("placeholder_item", Severity.INFO, first.line, message)
    if not dropped:
        return
    outline.items = [item for item in outline.items if item.line not in dropped]
    outline.not_items += [NotItem(line, reason) for line, reason in dropped.items()]
    for item in outline.items:
        item.parent_line = None if item.parent_line in dropped else item.parent_line


def _in_order(tasks: Iterable[_Task], counts: Counter[str | None]) -> None:
    """The needs that the order of one phase says."""
    last: str | None = None  # the last task without [P]
    since: list[str] = []
    for task in tasks:
        unique = task.item.ext_id is not None and counts[task.item.ext_id] == 1
        reference = task.item.ext_id if unique and task.item.ext_id else f"line:{task.item.line}"
        before = [last] if last is not None else []
        if task.parallel:
            since.append(reference)
        else:
            before += since
            last, since = reference, []
        task.item.needs.extend(before)


def _said(document: Document, known: dict[str, ParsedItem], dependencies: list[int]) -> None:
    """Needs in words: "(depends on T012, T013)" in a task, "T006 blocks T008" among the dependencies."""
    for item in known.values():
        for match in _BRACKETS.finditer(item.title[:4000]):
            if word := _SAYS_NEEDS.search(match[1]):
                item.needs.extend(need for need in _ids(match[1][word.end() :], known) if need != item.ext_id)
    for line in dependencies:
        for text in _section(document, line):
            for sentence in re.split(r"[;.；。]\s", text[:2000]):
                _relation(sentence, known)


def _section(document: Document, line: int) -> Iterator[str]:
    """The lines below a heading, up to the next one of its level."""
    own = heading_of(document.live[line - 1])
    level = own[0] if own else 2
    for text in document.live[line:]:
        if text.lstrip()[:1] == "#" and (heading := heading_of(text)) and heading[0] <= level:
            return
        if "T" in text:
            yield text


def _relation(sentence: str, known: dict[str, ParsedItem]) -> None:
    word = _SAYS_BEFORE.search(sentence)
    needs = word is None and (word := _SAYS_NEEDS.search(sentence)) is not None
    if word is None:
        return
    left, right = list(_ids(sentence[: word.start()], known)), list(_ids(sentence[word.end() :], known))
    if needs:
        left, right = right, left
    for name in right:
        item = known.get(name)
        if item is not None:
            item.needs.extend(before for before in left if before != name and before in known)


def _ids(text: str, known: dict[str, ParsedItem]) -> Iterator[str]:
    """Task ids of a text, its ranges ("T003-T005") as the tasks that the board has of them."""
    for match in _IDS.finditer(text):
        first = match["first"]
        if not match["last"]:
            yield f"T{first}{match['letter']}"
            continue
        start, end = int(first), int(match["last"])
        if start < end < start + _MOST_IDS:
            names = (f"T{number:0{len(first)}}" for number in range(start, end + 1))
            yield from (name for name in names if name in known)
        else:
            yield f"T{first}"
