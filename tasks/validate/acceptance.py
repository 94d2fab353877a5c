"""An item's own acceptance criteria, as far as a machine can check them against the answer's text.

Most criteria are about work ("the page loads in a second") or need sense, and no pattern can tell. Those are left
alone and named as unchecked; nothing here passes or fails them. Checked are criteria that speak of the answer itself
("the answer", "the summary", or no subject at all) and say how long it is, which words in quotation marks or
backticks it mentions, that it is JSON, a table or a list, or that it gives a number or a link.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from models.enums import ErrorType
from models.verdict import Failure
from models.words import counted
from tasks.foreign import excerpt, one_line, visible
from tasks.validate.code import fenced_blocks
from tasks.validate.grounding import comparable

LAYER = "acceptance"
MOST = 50
"""Criteria of one item that are looked at; the rest is named as unchecked."""

_LABEL = re.compile(
    r"\s*(?:#{1,6}\s+)?(?:\*\*|__)?\s*(?P<name>[^:：*_]{2,60}?)\s*(?:\*\*|__)?\s*[:：]?"
    r"\s*(?:\*\*|__)?\s*"
)
_INLINE = re.compile(
    r"\s*(?:\*\*|__)?(?P<name>[^:：*_]{2,40}?)(?:\*\*|__)?\s*[:：]\s*(?:\*\*|__)?\s*(?P<rest>\S.*)"
)
_ENTRY = re.compile(r"\s*(?:[-*+•–]|\d{1,3}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?(?P<text>\S.*)")

_SUBJECT = (
    r"(?:(?:the |an? |its |your )?(?:answer|summary|text|result|brief|reply|response|output)\b"
    r"|(?:ответ|резюме|текст|результат|сводка)\b"
    r"|(?:die |der |das |eine? )?(?:antwort|zusammenfassung|text|ergebnis)\b"
    r"|(?:la |le |une? )?(?:réponse|résumé|texte|résultat)\b"
    r"|(?:la |el |un |una )?(?:respuesta|resumen|texto|resultado)\b)"
)
_MODAL = (
    r"(?:has to|must|should|shall|has|have|is|are|will|needs to|takes|fits in|stays|be|have|должен|должна|должно|имеет"
    r"|содержит|занимает|быть|muss|soll|hat|ist|haben|sein|doit|a|est|avoir|debe|tiene|es|tener|deve)"
)
_BEGIN = rf"(?P<subject>{_SUBJECT}\s*)?(?:{_MODAL}\s+){{0,3}}"
_UNIT = (
    r"(?P<unit>words?|characters?|chars|sentences?|lines?|bullets?(?: points?)?|points?|items?|entries|слов\w*"
    r"|символ\w*|предложени\w*|строк\w*|пункт\w*|wörter\w*|worte\w*|zeichen|sätze\w*|zeilen?|punkte?n?|mots?|phrases?|caractères?"
    r"|lignes?|palabras?|frases?|caracteres?|líneas?|puntos?)"
)
_MOST = (
    r"at most|no more than|not more than|up to|max(?:imum)?\.?|fewer than|less than|under|below|≤|<=|не более|не больше"
    r"|максимум|до|менее|höchstens|maximal|nicht mehr als|unter|au plus|au maximum|como máximo|no más de"
    r"|moins de|menos de"
)
_LEAST = (
    r"at least|no fewer than|no less than|not less than|min(?:imum)?\.?|more than|over|≥|>=|не менее|не меньше|минимум"
    r"|более|mindestens|wenigstens|mehr als|au moins|plus de|al menos|como mínimo|más de"
)
_STRICT = re.compile(
    r"(?:fewer|less|more) than|under|below|over|менее|более|mehr als|unter|moins de|plus de|menos de|más de"
)
_NUMBER = r"(?P<number>\d{1,3}(?:[ ,.\u00a0]\d{3})+|\d{1,7})"
_EXACT = r"exactly|precisely|ровно|genau|exactement|exactamente"
_LIMIT = re.compile(
    rf"{_BEGIN}(?:in |long |of )?(?:(?P<most>{_MOST})|(?P<least>{_LEAST})|(?P<exact>{_EXACT}))\s+{_NUMBER}\s+{_UNIT}"
    r"(?:\s+(?:long|in length|lang))?",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    rf"{_BEGIN}(?:between\s+|from\s+|zwischen\s+|entre\s+|от\s+)?(?P<low>\d{{1,7}})\s*(?:-|–|to|and|und|bis|et|y|до)\s*"
    rf"(?P<high>\d{{1,7}})\s+{_UNIT}(?:\s+long)?",
    re.IGNORECASE,
)
_MENTION = re.compile(
    rf"(?P<subject>{_SUBJECT}\s*)?(?:it\s+)?(?:{_MODAL}\s+){{0,2}}"
    r"(?P<no>(?:does not|do not|doesn't|must not|not|never|не|nicht|ne|no)\s+)?"
    r"(?:(?P<holds>contains?|includes?|содерж\w+|включа\w+|enthält|enthalten|contient|contenir|contiene|contener)"
    r"|mentions?|names?|says?|quotes?|cites?|упомина\w+|называ\w+|назва\w+"
    r"|указыва\w+|nennt|nennen|erwähn\w+|mentionne\w*|nomme\w*"
    r"|menciona\w*|nombra\w*)"
    r"(?:\s+(?:the|both|all of|word|words|phrase|name|term|слово|слова|das Wort|le mot|la palabra))*[\s:]+(?P<what>.+)",
    re.IGNORECASE | re.DOTALL,
)
_LITERAL = re.compile(r"`([^`\n]+)`|\"([^\"\n]+)\"|«([^«»]+)»|“([^“”]+)”|„([^„“”]+)[“”]")
_JOIN = re.compile(r"[\s,;.]*(?:(?:and|or|und|oder|et|ou|y|o|и|или)\b)?[\s,;.]*", re.IGNORECASE)
_EITHER = re.compile(r"\b(?:or|oder|ou|или)\b", re.IGNORECASE)
_FORMAT = re.compile(
    rf"{_BEGIN}(?:given |written |formatted )?(?P<how>as |in |в виде |в формате |als |en |sous forme de )?"
    r"(?:an? |eine? |une? |una? )?"
    r"(?:valid |валидный |gültiges )?(?P<format>json|(?:markdown[ -])?(?:table|таблиц\w+|tabelle|tableau|tabla)"
    r"|(?:bullet(?:ed)?[ -]|bulleted |numbered )?list|списк\w+|список|liste|lista)(?: format)?",
    re.IGNORECASE,
)
_GIVES = re.compile(
    rf"(?P<subject>{_SUBJECT}\s*)?(?:{_MODAL}\s+){{0,2}}"
    r"(?:(?P<gives>gives?|states?)|contains?|includes?|has|have|with|содержит|есть|enthält"
    r"|contient|contiene)\s+(?:at least one |an? |the )?(?P<what>number|figure|link|url|число|цифр\w+"
    r"|ссылк\w+|zahl|link"
    r"|nombre chiffré|lien|número|enlace)",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
_SENTENCE = re.compile(r"[.!?…]+(?=\s|$)|[。！？]")
_TABLE = re.compile(
    r"^[ \t]*\|?.*\|.*\n[ \t]*\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-{2,}:?[ \t]*)*\|?[ \t]*$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Criterion:
    """One that can be checked: `problem` gives why the text does not meet it, empty where it does."""

    text: str
    check: str
    problem: Callable[[str], str]


@cache
def _labels() -> re.Pattern[str]:
    # Its package imports this one; only the word list is needed here, and only once there are answers.
    from tasks.decompose.structure import CRITERIA

    return CRITERIA


def criteria_of(question: str) -> list[str]:
    """The entries below "Acceptance criteria" and the like in an item's text, and what stands behind such a label."""
    found: list[str] = []
    inside = False
    labels = _labels()
    shown = visible(question)
    # As in most: a label has what belongs to it behind a colon, or on lines of its own.
    if not ("\n" in shown or ":" in shown or "：" in shown) or labels.search(shown) is None:
        return found
    for line in shown.split("\n"):
        label = _LABEL.fullmatch(line)
        if label and labels.fullmatch(label["name"].strip()):
            inside = True
        elif (inline := _INLINE.fullmatch(line)) and labels.fullmatch(inline["name"].strip()):
            found.append(one_line(inline["rest"]))
            inside = False
        elif inside and (entry := _ENTRY.fullmatch(line)):
            found.append(one_line(entry["text"]))
        elif line.strip():
            inside = False
    return found


def check_acceptance(
    text: str, question: str, more: Sequence[str] = ()
) -> tuple[list[Failure], tuple[str, ...]]:
    """What fails, and the criteria that nothing here can check."""
    failures = []
    unchecked = []
    for number, stated in enumerate(dict.fromkeys([*criteria_of(question), *more])):
        criterion = as_check(stated) if number < MOST else None
        if criterion is None:
            unchecked.append(stated)
        elif problem := criterion.problem(text):
            failures.append(
                Failure(
                    LAYER,
                    criterion.check,
                    ErrorType.RULE,
                    f"The item asks: {excerpt(stated, 160)}. {problem}",
                )
            )
    return failures, tuple(unchecked)


def as_check(stated: str) -> Criterion | None:
    """The criterion as a check, where all of it can be read as one; None where a word is left over."""
    plain = one_line(stated).strip(" .;!。")
    if len(plain) > 400:
        return None
    for read in (_limit, _between, _mentions, _format, _gives):
        if (found := read(plain)) is not None:
            return Criterion(stated, *found)
    return None


_Check = tuple[str, Callable[[str], str]]


def _limit(plain: str) -> _Check | None:
    found = _LIMIT.fullmatch(plain)
    if found is None or not (found["subject"] or _is_of_text(found["unit"])):
        return None
    number = int(re.sub(r"\D", "", found["number"]))
    said = found["most"] or found["least"]
    strict = bool(said and _STRICT.fullmatch(said.lower()))
    if found["most"]:
        return _size(found["unit"], 0, number - strict)
    if found["least"]:
        return _size(found["unit"], number + strict, None)
    return _size(found["unit"], number, number)


def _between(plain: str) -> _Check | None:
    found = _BETWEEN.fullmatch(plain)
    if found is None or not (found["subject"] or _is_of_text(found["unit"])):
        return None
    return _size(found["unit"], int(found["low"]), int(found["high"]))


def _is_of_text(unit: str) -> bool:
    """Only texts have words; points and lines may be those of a menu or a file."""
    return _measure(unit.lower())[0] in ("word", "sentence", "character")


def _size(unit: str, low: int, high: int | None) -> _Check:
    name, count = _measure(unit.lower())

    def problem(text: str) -> str:
        size = count(text)
        if size >= low and (high is None or size <= high):
            return ""
        return f"It has {counted(size, name)}."

    return "length", problem


def _measure(unit: str) -> tuple[str, Callable[[str], int]]:
    if unit.startswith(("char", "символ", "zeichen", "caract")):
        return "character", lambda text: len(text.strip())
    if unit.startswith(("sentence", "предлож", "sätze", "phrase", "frase")):
        return "sentence", lambda text: max(len(_SENTENCE.findall(text)), 1 if text.strip() else 0)
    if unit.startswith(("line", "строк", "zeile", "ligne", "línea")):
        return "line", lambda text: sum(bool(line.strip()) for line in text.split("\n"))
    if unit.startswith(("bullet", "point", "item", "entr", "пункт", "punkt", "punto")):
        return "point", lambda text: len(_BULLET.findall(text))
    return "word", lambda text: len(text.split())


def _mentions(plain: str) -> _Check | None:
    found = _MENTION.fullmatch(plain)
    if found is None or (found["holds"] and not found["subject"]):
        return None
    literals = [next(filter(None, one.groups())) for one in _LITERAL.finditer(found["what"])]
    between = _LITERAL.sub("\0", found["what"]).split("\0")
    # Any other word would change what is asked: "mentions `a` in its first sentence".
    if not literals or not all(_JOIN.fullmatch(part) for part in between):
        return None
    either = any(_EITHER.search(part) for part in between)
    unwanted = bool(found["no"])

    def problem(text: str) -> str:
        plain_text = comparable(text).casefold()
        there = [literal for literal in literals if comparable(literal).casefold() in plain_text]
        if unwanted:
            return f"It mentions {excerpt(there[0])}." if there else ""
        missing = [literal for literal in literals if literal not in there]
        if not missing or (either and there):
            return ""
        return f"It does not mention {', '.join(map(excerpt, missing))}."

    return "mentions", problem


def _format(plain: str) -> _Check | None:
    found = _FORMAT.fullmatch(plain)
    if found is None or not (found["subject"] or found["how"]):
        return None
    name = found["format"].lower()
    if name == "json":
        return "format", lambda text: "" if _is_json(text) else "It is no JSON."
    if name.endswith(("table", "tabelle", "tableau", "tabla")) or "таблиц" in name:
        return "format", lambda text: "" if _TABLE.search(text) else "It has no Markdown table."
    return "format", lambda text: "" if _BULLET.search(text) else "It has no list."


def _is_json(text: str) -> bool:
    blocks = [block.text for block in fenced_blocks(text)]
    for candidate in (text, *blocks[:1]):
        try:
            json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        return True
    return False


def _gives(plain: str) -> _Check | None:
    found = _GIVES.fullmatch(plain)
    if found is None or not (found["subject"] or found["gives"]):
        return None
    if found["what"].lower().startswith(("link", "url", "ссылк", "lien", "enlace")):
        return (
            "gives",
            lambda text: "" if re.search(r"https?://\w|\]\([^)\s]+\)", text) else "It has no link.",
        )
    return "gives", lambda text: "" if any(map(str.isdigit, text)) else "It has no number."
