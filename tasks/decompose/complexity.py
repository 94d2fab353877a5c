"""How large is an item, 1 to 10? A number that is the same every time, from nothing but the item's own words. Pure.

    score = 1 + steps + words + clauses + names + enumeration + criteria + kind, within 1 and 10

| part | points |
| --- | --- |
| steps | 1.5 for each step of its list after the first, at most 6: size is the number of things to do |
| words | log2(words / 12), 0 to 3: 12 words are a line; twice the text is one point more, not twice as large |
| clauses | 0.25 for each sentence, line or half of a sentence after the first, at most 1 |
| names | 0.5 for each file, path or command after the first, at most 2: what touches many places is large |
| enumeration | 0.5 for each comma, "and" and the like of the title after the first, at most 1.5 |
| criteria | 0.25 for each acceptance criterion after the third, at most 1 |
| kind | 5 where its kind is one that is split (epic, feature, story ...): the board itself calls it large |

A person who declared an effort or a complexity knows more than the text says: it weighs three quarters then. An item
of one line that declares nothing and whose kind is not large is at most ONE_LINE, which is the default of
`split_above`: it is never split. An item without any word, or one that can't be read, has no score: unknown is neither
small nor large.

The scale and "a score decides into how many parts" are those of claude-task-master's `analyze-complexity`,
where a model guesses the score. Counting things to do is what function points do. The weights are ours, set on the
boards of tests/corpus so that of 830 open items without parts 6 come out above 5; they can be computed by hand.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sources.vocabulary import priority_of
from tasks.decompose.structure import Outline, count_words, read_outline

ONE_LINE = 5
LARGE_KIND = 5.0
DECLARED_WEIGHT = 0.75
HOURS = {"min": 1 / 60, "h": 1.0, "d": 8.0, "w": 40.0, "mo": 160.0}

_CLAUSE = re.compile(r"[.!?…](?=\s|$)|[;；。！？\n]|\s[—–]\s")
_AND = re.compile(
    r"[,、，;+&]|/(?=\s)|\b(?:and|plus|и|а также|und|sowie|et|y|e|ed|i|oraz|ve|en|та|і|й)\b|和|及|以及|と|および|및",
    re.IGNORECASE,
)
_NAME = re.compile(r"`[^`\n]+`|(?<![\w/])(?:[\w.-]+/)+[\w.*-]+|\b[\w-]+\.(?:[a-z]{1,4}\d?|json|yaml|toml)\b")
_NUMBER = r"(\d+(?:[.,]\d+)?)"
_SPAN = re.compile(
    rf"{_NUMBER}\s*(?:[-–—]\s*{_NUMBER}\s*)?"
    r"(?P<unit>mo(?:nths?)?|мес\w*|monate?n?|mois|mes(?:es)?|ay|个月|か月"
    r"|min(?:utes?|uten)?|мин\w*|хв\w*|分钟|分"
    r"|h(?:(?:ou)?rs?|oras?|eures?)?|ч(?:ас\w*)?|год(?:ин\w*)?|std\.?|stunden?|saat|小时|時間|시간"
    r"|w(?:eeks?)?|нед\w*|тижн\w*|wochen?|semaines?|semanas?|settiman[ae]|hafta|周|週間?|주"
    r"|d(?:ays?)?|дн\w*|день|дней|д|t(?:age?n?)?|pt|jours?|j|días?|dias?|giorn[oi]|dni|gün|天|日|일)\b\.?",
    re.IGNORECASE,
)
_UNITS = (
    ("mo", re.compile(r"mo|мес|mon|mois|mes|ay|个月|か月", re.IGNORECASE)),
    ("min", re.compile(r"min|мин|хв|分", re.IGNORECASE)),
    ("h", re.compile(r"h|ч|год|std|stu|saat|小时|時間|시간", re.IGNORECASE)),
    ("w", re.compile(r"w|нед|тиж|sem|set|hafta|周|週|주", re.IGNORECASE)),
)
_SHIRT = {"xs": 1, "s": 3, "m": 5, "l": 7, "h": 7, "xl": 9, "xxl": 10}
_POINTS = re.compile(
    rf"{_NUMBER}\s*(?:sp|pts?|points?|story points?|очк\w*|баллов|балла?|puntos?|punkte?)\b", re.IGNORECASE
)
_LEVEL = {0: 9, 1: 8, 2: 5, 3: 2, 4: 1}
_IN_TEXT = re.compile(
    r"\b(?P<key>complexity|effort|estimate|estimation|story points|сложность|трудо[её]мкость|оценка|складність|оцінка"
    r"|komplexität|aufwand|schätzung|complexité|complejidad|estimación|complexidade|estimativa|complessità|stima)"
    r"\s*(?:::|[:=：])\s*(?P<value>[^\n;)\]]{1,40})",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Complexity:
    score: int | None  # 1 to 10; None: unknown
    points: tuple[tuple[str, float], ...] = ()  # what made it so, by part of the formula
    steps: int = 0  # that its own text lists

    def parts(self, most: int) -> int | None:
        """How many parts a model is asked for, 2 to `most`; None where the size is not known."""
        return None if self.score is None else max(2, min(self.score - 3, most))


def complexity(
    title: str,
    body: str = "",
    labels: Mapping[str, str] | None = None,
    *,
    large: bool = False,
    outline: Outline | None = None,
) -> Complexity:
    """`large`: the item's kind is one that is split. `outline`: of the body, where it was read before."""
    outline = outline or read_outline(body)
    words = count_words(f"{title}\n{body}")
    if not words or not re.search(r"[^\W\d_]", title + body):
        return Complexity(None)
    points = {
        "steps": min(1.5 * max(len(outline.steps) - 1, 0), 6.0),
        "words": min(max(math.log2(words / 12), 0.0), 3.0),
        "clauses": min(0.25 * _count(_CLAUSE, f"{title}\n{body}".strip().rstrip(".")), 1.0),
        "names": min(0.5 * max(len(set(_NAME.findall(f"{title}\n{body}"))) - 1, 0), 2.0),
        "enumeration": min(0.5 * max(_count(_AND, title) - 1, 0), 1.5),
        "criteria": min(0.25 * max(_criteria(outline) - 3, 0), 1.0),
        "kind": LARGE_KIND if large else 0.0,
    }
    measured = min(max(1.0 + sum(points.values()), 1.0), 10.0)
    declared = declared_size(title, body, labels or {})
    if declared is not None:
        points["declared"] = round(DECLARED_WEIGHT * (declared - measured), 2)
        measured = DECLARED_WEIGHT * declared + (1 - DECLARED_WEIGHT) * measured
    score = min(max(math.floor(measured + 0.5), 1), 10)
    if declared is None and not large and not body.strip():
        score = min(score, ONE_LINE)
    shown = tuple((name, round(value, 2)) for name, value in points.items() if value)
    return Complexity(score, shown, len(outline.steps))


def declared_size(title: str, body: str, labels: Mapping[str, str]) -> float | None:
    """What the board says of the size, 1 to 10: a label, else `estimate: 3d` in the text. None: nothing readable."""
    for key in ("complexity", "effort", "estimate", "points", "size"):
        if key in labels and (size := _size(labels[key], scale=key == "complexity")) is not None:
            return size
    for found in _IN_TEXT.finditer(f"{title}\n{body}"):
        scale = bool(re.match("comple|слож|склад|kompl", found["key"], re.IGNORECASE))
        if (size := _size(found["value"], scale=scale)) is not None:
            return size
    return None


def _size(said: str, *, scale: bool) -> float | None:
    """`scale`: a bare number is one of 1 to 10; elsewhere nobody knows its unit."""
    text = said.strip().strip("~≈<>*_`[]() ").lower()
    if found := re.match(rf"{_NUMBER}\s*%", text):
        return _within(_number(found[1]) / 10)
    if found := re.match(rf"{_NUMBER}\s*/\s*(\d+)", text):
        return _within(10 * _number(found[1]) / int(found[2])) if int(found[2]) else None
    if found := _POINTS.match(text):
        return _within(1 + 2 * math.log2(1 + _number(found[1]) / 2))
    if found := _SPAN.match(text):
        amount = _number(found[2] or found[1])  # of a span its end
        unit = next((name for name, pattern in _UNITS if pattern.match(found["unit"])), "d")
        return _within(1 + 1.4 * math.log2(1 + amount * HOURS[unit] / 2))
    if text in _SHIRT:
        return float(_SHIRT[text])
    if scale and re.fullmatch(_NUMBER, text):
        number = _number(text)
        return number if 1 <= number <= 10 else None
    level = priority_of(text)
    return None if level is None else float(_LEVEL[level])


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _within(size: float) -> float:
    return min(max(size, 1.0), 10.0)


def _criteria(outline: Outline) -> int:
    return len(outline.criteria) + sum(len(step.criteria) for step in outline.steps)


def _count(pattern: re.Pattern[str], text: str) -> int:
    return sum(1 for _ in pattern.finditer(text))
