"""What a council comes to: how sure, how risky, who is asked; and its text in both directions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.council import Decided, Opinion, Position, Seat
from models.recipe import CouncilMember, CouncilRule, Risk
from tasks.council.combine import combine, synthesis_problem, why_a_person
from tasks.council.text import read, write

levels = st.sampled_from(list(Risk))
shares = st.floats(0, 1)
positions = st.sampled_from(list(Position))


def opinion(number: int, confidence: float | None, risk: Risk | None, *, heard: bool = True) -> Opinion:
    data: dict[str, Any] = {} if confidence is None else {"confidence": confidence}
    if risk is not None:
        data["risks"] = [{"risk": "it may fail", "level": str(risk)}]
    result = number + 100 if heard else None
    return Opinion(
        number, f"m{number}", 4 if heard else 5, result, "so", data if heard else {}, [], False, "m", "h"
    )


def synthesis(
    opinions: list[Opinion], stands: list[Position], claimed: float, risks: list[Risk]
) -> dict[str, Any]:
    heard = [each for each in opinions if each.heard]
    return {
        "decision": "So it is.",
        "reasons": ["because"],
        "risks": [{"risk": "it may fail", "level": str(risk)} for risk in risks],
        "positions": [
            {"cite": each.cite, "position": str(position), "says": "so"}
            for each, position in zip(heard, stands, strict=False)
        ],
        "citations": [{"cite": each.cite, "quote": "so"} for each in heard],
        "confidence": claimed,
    }


@st.composite
def councils(draw: st.DrawFn) -> tuple[list[Opinion], dict[str, Any], list[Position]]:
    count = draw(st.integers(1, 9))
    opinions = [opinion(number, draw(shares), draw(st.none() | levels)) for number in range(count)]
    opinions += [
        opinion(50 + number, 1.0, Risk.HIGH, heard=False) for number in range(draw(st.integers(0, 3)))
    ]
    stands = draw(st.lists(positions, min_size=count, max_size=count))
    return opinions, synthesis(opinions, stands, draw(shares), draw(st.lists(levels, max_size=3))), stands


def decided(opinions: list[Opinion], data: dict[str, Any]) -> Decided:
    assert synthesis_problem(data, opinions) is None
    return combine(data, data["citations"], opinions)


@given(councils())
def test_it_is_never_surer_than_its_members_agree_nor_than_the_synthesis_says(
    council: tuple[list[Opinion], dict[str, Any], list[Position]],
) -> None:
    opinions, data, stands = council
    found = decided(opinions, data)
    assert found.confidence is not None
    agreement = stands.count(Position.SUPPORTS) / len(stands)
    assert found.agreement == pytest.approx(agreement, abs=1e-3)
    assert 0 <= found.confidence <= min(agreement, data["confidence"]) + 1e-3
    supporters = [
        one.confidence for one, stand in zip(opinions, stands, strict=False) if stand is Position.SUPPORTS
    ]
    assert found.confidence <= max(supporters, default=0.0) + 1e-3


@given(councils(), st.randoms())
def test_the_order_of_members_and_positions_changes_nothing(
    council: tuple[list[Opinion], dict[str, Any], list[Position]], random: Any
) -> None:
    opinions, data, _ = council
    first = decided(opinions, data)
    random.shuffle(opinions)
    random.shuffle(data["positions"])
    again = decided(opinions, data)
    assert again.confidence == pytest.approx(first.confidence, abs=1.1e-3)  # sums of floats, rounded
    assert (again.risk, again.agreement) == (first.risk, first.agreement)
    assert {seat.name for seat in again.dissent} == {seat.name for seat in first.dissent}


@given(councils(), st.data())
def test_one_that_turns_against_it_never_makes_it_surer(
    council: tuple[list[Opinion], dict[str, Any], list[Position]], data: st.DataObject
) -> None:
    opinions, said, stands = council
    before = decided(opinions, said)
    who = data.draw(st.integers(0, len(stands) - 1))
    said["positions"][who]["position"] = data.draw(st.sampled_from([Position.DISSENTS, Position.ABSTAINS]))
    after = decided(opinions, said)
    assert after.confidence is not None
    assert before.confidence is not None
    assert after.confidence <= before.confidence
    if stands[who] is Position.SUPPORTS and said["confidence"] == 1:
        assert after.confidence <= 1 - 1 / len(stands) + 1e-3


@given(councils())
def test_no_risk_is_talked_away(council: tuple[list[Opinion], dict[str, Any], list[Position]]) -> None:
    opinions, data, _ = council
    found = decided(opinions, data)
    named = [level for one in opinions if one.heard for _, level in one.risks]
    named += [Risk(each["level"]) for each in data["risks"]]
    assert found.risk is max(named, key=lambda level: level.rank, default=Risk.LOW)


@given(councils(), shares, levels)
def test_a_person_is_asked_exactly_where_a_threshold_is_missed(
    council: tuple[list[Opinion], dict[str, Any], list[Position]], least: float, highest: Risk
) -> None:
    opinions, data, _ = council
    found = decided(opinions, data)
    members = [CouncilMember(name=name, persona="p") for name in ("a", "b")]
    rule = CouncilRule(members=members, least_confidence=least, highest_risk=highest)
    assert found.confidence is not None
    missed = found.confidence < least or found.risk.rank > highest.rank
    assert (why_a_person(rule, found) is not None) == missed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["positions"].pop(), "not in `positions`"),
        (lambda data: data["positions"].append(data["positions"][0]), "in `positions` 2 times"),
        (lambda data: data["positions"][0].update(cite="item:99"), "'item:99', which is no opinion"),
        (lambda data: data["positions"][0].update(position="agrees"), "must be one of supports"),
        (lambda data: data["citations"].pop(0), "Nothing of what m0 said is cited"),
        (lambda data: data.update(positions=None), "not in `positions`"),
    ],
)
def test_a_synthesis_that_leaves_somebody_out_is_refused(change: Any, said: str) -> None:
    opinions = [opinion(number, 0.9, None) for number in range(3)]
    data = synthesis(opinions, [Position.SUPPORTS] * 3, 0.9, [])
    assert synthesis_problem(data, opinions) is None
    change(data)
    assert said in (synthesis_problem(data, opinions) or "")


def test_a_model_that_says_nothing_of_its_confidence_is_not_sure_and_a_person_is() -> None:
    silent = opinion(1, None, None)
    assert silent.confidence == 0.0
    person = Opinion(1, "m", 4, 7, "so", {}, [], False, "", "")
    assert person.confidence == 1.0


words = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" \n#*-\\"), max_size=60)
one_line = words.map(lambda text: " ".join(text.split())).filter(bool)


@given(
    words.map(str.strip).filter(bool),
    st.lists(one_line, max_size=4),
    st.lists(st.tuples(levels, one_line), max_size=4),
)
def test_what_is_written_is_read(decision: str, reasons: list[str], risks: list[tuple[Risk, str]]) -> None:
    named = [{"risk": text, "level": str(level)} for level, text in risks]
    seats = [
        Seat("a", 1, 2, "m", "h", "dissents", "## Risks", 0.5, "high"),
        Seat("b", 2, None, "", "", None, "", None, None, "gone"),
    ]
    whole = Decided(
        decision, reasons, named, Risk.LOW, 0.5, 0.5, 0.5, seats, [{"cite": "item:1", "quote": "q"}]
    )
    found = read(write(whole))
    assert found.decision == decision
    assert found.reasons == reasons
    assert found.risks == named


@given(st.text(max_size=400))
def test_any_text_of_a_person_is_a_decision(text: str) -> None:
    found = read(text)
    assert found.decision or not text.strip() or "#" in text
    assert all(entry["level"] in set(Risk) for entry in found.risks)


def test_a_risk_without_a_level_counts_as_high() -> None:
    assert read("## Decision\nGo.\n## Risks\n- noise\n- Low: rust\n").risks == [
        {"risk": "noise", "level": "high"},
        {"risk": "rust", "level": "low"},
    ]
