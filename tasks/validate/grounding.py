"""Are the citations real? Each was among the passages of the prompt, and each quote stands in its passage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.calls import Passage
from models.enums import ErrorType
from models.recipe import Grounding
from models.verdict import Failure
from models.words import counted
from tasks.foreign import excerpt, one_line

LAYER = "grounding"

MIN_QUOTE = 8
"""Characters. A shorter quote stands nearly everywhere and proves nothing, unless it is a whole line."""

MAX_FAILURES = 5

_DENSE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

# Models type plain quotation marks and dashes where the source has typographic ones; that changes no word.
_TYPOGRAPHY = str.maketrans({**dict.fromkeys("‘’‚‛′", "'"), **dict.fromkeys("“”„‟«»″", '"'),
                             **dict.fromkeys("‐‑‒–—―−", "-"), "…": "...", "\u00a0": " "})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grounded:
    citations: tuple[dict[str, str], ...]  # those that are in order
    failures: tuple[Failure, ...] = ()


def check_grounding(
    policy: Grounding, data: Mapping[str, Any] | None, passages: Sequence[Passage]
) -> Grounded:
    """`data` is the answer's object; its `citations` are {cite, quote}. Free text has no citations to check."""
    if policy is Grounding.NONE:
        return Grounded(())
    given = data.get("citations") if data is not None else None
    cited: list[Any] = given if isinstance(given, list) else []
    if policy is Grounding.REQUIRED and not passages:
        return _failed(
            "has_citations",
            ErrorType.NO_EVIDENCE,
            "No passage of any source was found for this item, so nothing can back an answer.",
        )
    if policy is Grounding.REQUIRED and not cited:
        return _failed(
            "has_citations",
            ErrorType.GROUNDING,
            f"The answer cites none of the {counted(len(passages), 'passage')} that it was given.",
        )
    by_cite = {one_line(passage.cite): passage for passage in passages}
    real: list[dict[str, str]] = []
    failures = []
    for entry in cited:
        cite, quote = _entry(entry)
        passage = by_cite.get(cite)
        if passage is None:
            known = ", ".join(list(by_cite)[:3]) or "none"
            failures.append(
                _failure(
                    "cite_given", f"It cites {excerpt(cite)}, which it was not given (given: {known} ...)."
                )
            )
        elif problem := _quote_problem(quote, passage):
            failures.append(_failure("quote_found", problem))
        else:
            real.append({"cite": passage.cite, "quote": quote})
    return Grounded(tuple(real), tuple(failures[:MAX_FAILURES]))


def _entry(entry: Any) -> tuple[str, str]:
    if not isinstance(entry, Mapping):
        return one_line(str(entry)), ""
    cite = one_line(str(entry.get("cite") or ""))
    if cite.startswith("[[") and cite.endswith("]]"):
        cite = cite[2:-2].strip()
    return cite, str(entry.get("quote") or "").strip()


def _quote_problem(quote: str, passage: Passage) -> str | None:
    wanted = comparable(quote)
    if not wanted:
        return f"It cites {passage.cite} without a quote."
    if weight(wanted) < MIN_QUOTE and not any(
        comparable(line) == wanted for line in passage.text.split("\n")
    ):
        return (
            f"The quote {excerpt(quote)} from {passage.cite} is too short to prove anything "
            f"(at least {MIN_QUOTE} characters, or a whole line)."
        )
    if not stands_in(wanted, comparable(passage.text)):
        return f"The quote {excerpt(quote)} does not stand in {passage.cite}."
    return None


def weight(text: str) -> int:
    """Its length, where a letter of a script whose letters are words or syllables counts as three."""
    return len(text) + 2 * len(_DENSE.findall(text))


def comparable(text: str) -> str:
    """On one line, with plain quotation marks and dashes."""
    return " ".join(one_line(text).translate(_TYPOGRAPHY).split())


def stands_in(quote: str, text: str) -> bool:
    """Word for word; a number must not be cut ("port 42" does not stand in "port 4270")."""
    at = text.find(quote)
    while at >= 0:
        end = at + len(quote)
        cut_before = at > 0 and text[at - 1].isdigit() and quote[0].isdigit()
        cut_after = end < len(text) and text[end].isdigit() and quote[-1].isdigit()
        if not cut_before and not cut_after:
            return True
        at = text.find(quote, at + 1)
    return False


def _failure(check: str, message: str) -> Failure:
    return Failure(LAYER, check, ErrorType.GROUNDING, message)


def _failed(check: str, error_type: ErrorType, message: str) -> Grounded:
    return Grounded((), (Failure(LAYER, check, error_type, message),))
