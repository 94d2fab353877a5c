"""What a council comes to: the opinions, and what its synthesis says of them. Pure.

How sure a decision is is not taken at the synthesis' word alone. With n members heard, of whom S support it, each with
its own confidence c:

    confidence = min(the synthesis' own, sum of c over S / n)

So it is never above the share of members that agree, never above their mean confidence, and one that dissents or
abstains lowers it by 1/n at least. Who did not answer counts neither way: whether enough answered is the quorum's
question. The risk of a decision is the highest level that the synthesis or any member names: a synthesis can't talk a
member's risk away.

A synthesis must place each opinion once and cite each; one that does not is asked again with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.council import Decided, Opinion, Position, Seat, risks_of
from models.recipe import CouncilRule, Risk
from models.words import counted
from tasks.foreign import one_line, storable

__all__ = ["by_person", "combine", "placed", "synthesis_problem", "why_a_person"]

LONGEST_SAYS = 600


def placed(data: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(cite, position, what it says) of each entry of the synthesis' `positions`."""
    found = []
    for entry in data.get("positions") or ():
        if isinstance(entry, Mapping):
            cite = one_line(str(entry.get("cite") or "")).removeprefix("[[").removesuffix("]]").strip()
            says = " ".join(str(entry.get("says") or "").split())[:LONGEST_SAYS]
            found.append((cite, str(entry.get("position") or ""), says))
    return found


def synthesis_problem(data: Mapping[str, Any], opinions: Sequence[Opinion]) -> str | None:
    """Why this synthesis can't stand for these opinions, in words for the model that wrote it; None where it can."""
    heard = {opinion.cite: opinion for opinion in opinions if opinion.heard}
    seen: dict[str, int] = dict.fromkeys(heard, 0)
    for cite, position, _ in placed(data):
        if cite not in heard:
            return f"`positions` has {cite[:80]!r}, which is no opinion; there are {', '.join(heard)}."
        if position not in set(Position):
            return f"The position of {cite} is {position[:40]!r}; it must be one of {', '.join(Position)}."
        seen[cite] += 1
    for cite, count in seen.items():
        if count != 1:
            often = "not in `positions`" if not count else f"in `positions` {count} times"
            return f"The opinion {cite} ({heard[cite].name}) is {often}; each must be there once."
    cited = {
        one_line(str(entry.get("cite") or "")).removeprefix("[[").removesuffix("]]").strip()
        for entry in data.get("citations") or ()
        if isinstance(entry, Mapping)
    }
    if left := [opinion.name for cite, opinion in heard.items() if cite not in cited]:
        return (
            f"Nothing of what {', '.join(left)} said is cited; each opinion must be, also one that dissents."
        )
    return None


def combine(
    data: Mapping[str, Any], citations: Sequence[Mapping[str, str]], opinions: Sequence[Opinion]
) -> Decided:
    """The decision of a synthesis that has no `synthesis_problem`."""
    positions = {cite: (Position(position), says) for cite, position, says in placed(data)}
    heard = [opinion for opinion in opinions if opinion.heard]
    supporters = [opinion for opinion in heard if positions[opinion.cite][0] is Position.SUPPORTS]
    claimed = min(max(float(data.get("confidence") or 0.0), 0.0), 1.0)
    agreement = len(supporters) / len(heard) if heard else 0.0
    bound = sum(opinion.confidence for opinion in supporters) / len(heard) if heard else 0.0
    risks = risks_of(data)
    return Decided(
        decision=storable(str(data["decision"])).strip(),
        reasons=[" ".join(storable(str(reason)).split()) for reason in data.get("reasons") or ()],
        risks=[{"risk": storable(text), "level": str(level)} for text, level in risks],
        risk=_highest([level for _, level in risks] + [level for one in heard for _, level in one.risks]),
        confidence=round(min(claimed, bound), 3),
        claimed=round(claimed, 3),
        agreement=round(agreement, 3),
        members=[_seat(opinion, positions.get(opinion.cite)) for opinion in opinions],
        citations=[dict(citation) for citation in citations],
        simulated=any(opinion.simulated for opinion in heard),
    )


def by_person(
    decision: str, reasons: list[str], risks: list[dict[str, str]], opinions: Sequence[Opinion]
) -> Decided:
    """A decision that a person wrote where no synthesis stood. Nobody says how the members stand to it."""
    named = [Risk(entry["level"]) for entry in risks]
    return Decided(
        decision=decision,
        reasons=reasons,
        risks=risks,
        risk=_highest(named + [level for one in opinions if one.heard for _, level in one.risks]),
        confidence=None,
        claimed=None,
        agreement=None,
        members=[_seat(opinion, None) for opinion in opinions],
        citations=[],
    )


def why_a_person(rule: CouncilRule, decided: Decided) -> str | None:
    """Why this decision is not taken without a person, as a sentence; None where it is."""
    reasons = []
    if decided.confidence is not None and decided.confidence < rule.least_confidence:
        supporters = len(decided.having(Position.SUPPORTS))
        heard = len(decided.members) - len(decided.missing)
        reasons.append(
            f"The council is not sure enough: its confidence is {decided.confidence:.2f}, and "
            f"{rule.least_confidence:.2f} is asked for. {supporters} of {counted(heard, 'member')} that answered "
            f"{'supports' if supporters == 1 else 'support'} it; the synthesis itself says {decided.claimed:.2f}."
        )
    if decided.risk.rank > rule.highest_risk.rank:
        who = [seat.name for seat in decided.members if seat.risk == decided.risk]
        named = [entry["risk"] for entry in decided.risks if entry["level"] == decided.risk]
        said = "; ".join(named) or f"named by {', '.join(who)}"
        reasons.append(
            f"A risk is {decided.risk}: {said}. Without a person at most {rule.highest_risk} is taken."
        )
    return " ".join(reasons) or None


def _seat(opinion: Opinion, position: tuple[Position, str] | None) -> Seat:
    levels = [level for _, level in opinion.risks]
    return Seat(
        name=opinion.name,
        item=opinion.item_id,
        result=opinion.result_id,
        model=opinion.model,
        recipe_hash=opinion.recipe_hash,
        position=str(position[0]) if position and opinion.heard else None,
        says=storable(position[1]) if position and opinion.heard else "",
        confidence=opinion.confidence if opinion.heard else None,
        risk=str(_highest(levels)) if levels else None,
        missing=None if opinion.heard else (opinion.error or "it did not answer"),
    )


def _highest(levels: Sequence[Risk]) -> Risk:
    return max(levels, key=lambda level: level.rank, default=Risk.LOW)
