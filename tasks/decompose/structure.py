"""The parts that a text names itself: its steps, and how each is accepted. No model, and nothing is made up.

An item's body is read as a list of steps where its entries are things to do: numbered entries, entries below a label
such as "Steps:", and plain bullets that each begin as an instruction does. Notes, links, "key: value" lines and what
stands below another label are no steps. Lists below "Acceptance criteria", "DoD" and the like are criteria: of a step
when they are indented below it, else of the whole and of no single step. A document's sections: tasks/decompose/prd.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sources.vocabulary import detail_of
from tasks.decompose.verbs import begins_with_a_verb

LONGEST_TITLE = 300
FEWEST_WORDS = 2

_ENTRY = re.compile(r"(?P<mark>[-*+•–]|\d{1,3}[.)])[ \t]+(?P<text>\S.*)")
_FENCE = re.compile(r"\s*(```|~~~)")
_LABEL = re.compile(
    r"(?:#{1,6}\s+)?(?:\*\*|__)?(?P<name>[^:：*_]{2,60}?)\s*(?:\*\*|__)?\s*[:：]?\s*(?:\*\*|__)?\s*"
)
_INLINE = re.compile(
    r"(?:\*\*|__)?(?P<name>[^:：*_]{2,40}?)(?:\*\*|__)?\s*[:：]\s*(?:\*\*|__)?\s*(?P<rest>\S.*)"
)
CRITERIA = re.compile(
    r"acceptance(?: criteria| tests?)?|accepted when|definition of done|dod|ac|done when|success criteria"
    r"|критери[ийея]+(?: при[её]мки| готовности| успеха)?|готово,? когда|определение готовности"
    r"|критері[їй](?: приймання| готовності)?|akzeptanzkriteri(?:um|en)|abnahmekriteri(?:um|en)|fertig,? wenn"
    r"|crit[eè]res? d['’]acceptation|définition de terminé|criterios? de aceptaci[oó]n"
    r"|crit[eé]rios? de aceita[cç][aã]o|criteri(?:o)? di accettazione|kryteria akceptacji|kabul kriterleri"
    r"|验收标准|驗收標準|完成标准|受け入れ(?:条件|基準)|完了(?:条件|の定義)|인수 ?(?:조건|기준)|완료 ?조건",
    re.IGNORECASE,
)
STEPS = re.compile(
    r"(?:implementation |next |action )?(?:steps?|tasks?|sub-?tasks?|plan|to-?dos?|actions?|what to do)"
    r"|шаги|задачи|подзадачи|план(?: работ)?|что (?:надо |нужно )?сделать|действия|кроки|завдання"
    r"|підзадачі|дії"
    r"|schritte|aufgaben|teilaufgaben|vorgehen|étapes|tâches|sous-tâches|pasos|tareas|subtareas|passos"
    r"|tarefas"
    r"|passi|attività|kroki|zadania|adımlar|görevler|步骤|步驟|任务|子任务|計画|手順|タスク|단계|작업",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SPACELESS = re.compile("[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
_ONLY_A_NAME = re.compile(r"(?:`[^`]+`|<?https?://\S+>?|\[[^\]]*\]\([^)]*\)|[\w./\\-]+\.\w{1,5})[.,;]?")


@dataclass(slots=True)
class Step:
    title: str
    numbered: bool = False
    details: list[str] = field(default_factory=list)
    criteria: list[str] = field(default_factory=list)

    @property
    def is_one(self) -> bool:
        """Enough words for something to do, and no question, link, path or `key: value`."""
        text = self.title.strip()
        found = _INLINE.match(text)
        return (
            count_words(text) >= FEWEST_WORDS
            and not text.endswith(("?", "？", ":", "："))
            and _ONLY_A_NAME.fullmatch(text) is None
            and not (found and detail_of(found["name"]) is not None)
        )

    def part(self, *context: str) -> dict[str, Any]:
        """The step as a part of a split (tasks/decompose/plan.py): `context` stands before its details.

        Its criteria are those that are called so below it, else its own sub-list, else its own words, which it says.
        """
        criteria, details = self.criteria, self.details
        if not criteria and (listed := self._listed()):
            criteria, details = listed, details[: -len(listed)]
        part: dict[str, Any] = {"title": self.title, "acceptance": criteria or [self.title]}
        if not criteria:
            part["criteria"] = "title"
        if body := "\n".join([*context, *details]).strip():
            part["body"] = body
        return part

    def _listed(self) -> list[str]:
        """The sub-list that ends the step, where each entry says something: no links, notes or questions."""
        entries = [_ENTRY.fullmatch(line) for line in self.details]
        first = next((place for place, entry in enumerate(entries) if entry), len(entries))
        listed = [entry["text"].strip() for entry in entries[first:] if entry]
        whole = len(listed) == len(entries) - first and all(Step(text).is_one for text in listed)
        return listed if whole else []


@dataclass(slots=True)
class Outline:
    """A body as it reads: steps, criteria of the whole, and the rest."""

    steps: list[Step] = field(default_factory=list)
    labelled: bool = False  # the steps stand below a label that says so
    criteria: list[str] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)

    @property
    def certain(self) -> bool:
        """Are these steps, each a thing to do? Else a model is asked, and they are what it falls back on."""
        if len(self.steps) < 2 or not all(step.is_one for step in self.steps):
            return False
        if self.labelled or all(step.numbered for step in self.steps):
            return True
        among = " ".join(step.title for step in self.steps)
        return all(begins_with_a_verb(step.title, among) for step in self.steps)


def count_words(text: str) -> int:
    """Scripts without spaces count two letters as a word."""
    letters = len(SPACELESS.findall(text))
    return len(_WORD.findall(SPACELESS.sub(" ", text) if letters else text)) + (letters + 1) // 2


def read_outline(body: str) -> Outline:
    return _Reader().read(body.split("\n"))


class _Reader:
    """One pass over the lines. `mode` says what the entries that follow are."""

    def __init__(self) -> None:
        self.outline = Outline()
        self.mode = "open"  # open, steps, criteria, other
        self.label_indent = -1
        self.step_indent: int | None = None
        self.step: Step | None = None
        self.step_criteria: int | None = None  # indent of a label of criteria below the step

    def read(self, lines: Sequence[str]) -> Outline:
        fenced = False
        for line in lines:
            if _FENCE.match(line):
                fenced = not fenced
                continue
            text = line.strip()
            if fenced or not text:
                continue
            self._line(len(line) - len(line.lstrip()), text)
        return self.outline

    def _line(self, indent: int, text: str) -> None:
        entry = _ENTRY.fullmatch(text)
        said = entry["text"].strip() if entry else text
        if self._label(indent, said, entry is not None):
            return
        if self.step is not None and self.step_indent is not None and indent > self.step_indent:
            if self.step_criteria is not None and entry and indent >= self.step_criteria:
                self.step.criteria.append(said)
            else:
                self.step.details.append(text)
            return
        if entry is None:
            self._prose(text)
        elif self.mode == "criteria":
            self.outline.criteria.append(said)
        elif self.mode == "other" or (self.step_indent is not None and indent < self.step_indent):
            self._prose(text)
        else:
            self.step = Step(said[:LONGEST_TITLE], entry["mark"][0].isdigit())
            self.step_indent = indent if self.step_indent is None else self.step_indent
            self.step_criteria = None
            self.outline.steps.append(self.step)

    def _prose(self, text: str) -> None:
        self.outline.prose.append(text)
        self.step = None
        if self.mode in ("criteria", "steps"):
            self.mode = "other" if self.outline.steps else "open"

    def _label(self, indent: int, text: str, entry: bool) -> bool:
        """A line that only names what follows; a line of criteria with its label before them."""
        below = self.step is not None and self.step_indent is not None and indent > self.step_indent
        found = _INLINE.fullmatch(text)
        if found and CRITERIA.fullmatch(found["name"].strip()):
            target = self.step.criteria if below and self.step else self.outline.criteria
            target += [part.strip() for part in re.split(r"[;；]", found["rest"]) if part.strip(" .")]
            return True
        name = _LABEL.fullmatch(text)
        if name is None or (text[-1] not in ":：*_" and not text.startswith("#") and not entry):
            return self._bare(indent, text, below)
        word = name["name"].strip()
        if CRITERIA.fullmatch(word):
            self._begin(indent, "criteria", below)
            return True
        if entry and text[-1] not in ":：":
            return False
        if below:
            self.step_criteria = None
            return False
        if STEPS.fullmatch(word) and not self.outline.steps:
            self._begin(indent, "steps", below)
            self.outline.labelled = True
            return True
        if (text[-1] in ":：" and not entry) or text.startswith("#"):
            self.outline.prose.append(text)
            self._begin(indent, "other" if self.outline.steps or count_words(word) < 4 else "open", below)
            return True
        return False

    def _bare(self, indent: int, text: str, below: bool) -> bool:
        """A label without its colon, alone on its line."""
        if CRITERIA.fullmatch(text):
            self._begin(indent, "criteria", below)
            return True
        return False

    def _begin(self, indent: int, mode: str, below: bool) -> None:
        if below:
            self.step_criteria = indent
            return
        self.mode = mode
        self.label_indent = indent
        self.step = None
        self.step_criteria = None
        if mode == "steps":
            self.step_indent = None
