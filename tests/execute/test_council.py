"""Councils, from the board to the decision: members asked alone and once, a synthesis over them, a record, a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from models.calls import ModelCallError, ModelRequest
from models.council import DecisionRecord
from models.enums import Decision, ErrorType, Status
from models.errors import InputError
from tasks.council.records import records
from tasks.council.text import adr
from tasks.recipes import Recipes
from tasks.remember import remember_results
from tasks.validate.rerun import recheck

from .test_splits import Pipeline, pipeline, recipes  # noqa: F401

BOARD = """# Board
[ ] EP AB-1 — Alarms
   [ ] T AB-1.1 — CONSULT — may operators silence the flood alarm for longer? [recipe:: council]
   [ ] T AB-1.2 — State the level of basin one
"""
QUESTION = "%silence the flood alarm for longer?"
QUOTE = "Operators may silence the flood alarm for ten minutes."
PERSONA = {"builder": "who will build it", "sceptic": "the sceptic", "steward": "speak for those who use it"}


def who(request: ModelRequest) -> str:
    """The member that is asked; `synthesis`, or `other` for items without a council."""
    if "positions" in (request.schema or {}).get("properties", {}):
        return "synthesis"
    return next((name for name, words in PERSONA.items() if words in request.system), "other")


def cited(request: ModelRequest) -> list[dict[str, str]]:
    place = next((each for each in request.passages if QUOTE in each.text), request.passages[0])
    quote = QUOTE if QUOTE in place.text else place.text.strip().split("\n")[0]
    return [{"cite": place.cite, "quote": quote}]


def opinion(request: ModelRequest, says: str, *, confidence: float = 0.9, risk: str = "low") -> str:
    return orjson.dumps(
        {
            "answer": f"{says}, because the rule of the alarm is meant so and nothing speaks against it.",
            "position": says,
            "risks": [{"risk": "a flood is seen too late", "level": risk}],
            "citations": cited(request),
            "confidence": confidence,
        }
    ).decode()


def synthesis(request: ModelRequest, *, against: tuple[str, ...] = (), confidence: float = 0.9) -> str:
    names = {passage.cite: passage.text.split(" says:")[0] for passage in request.passages}
    return orjson.dumps(
        {
            "decision": "The alarm may be silenced for ten minutes and no longer, as the rule says.",
            "reasons": ["The rule says ten minutes."],
            "risks": [{"risk": "a flood is seen too late", "level": "low"}],
            "positions": [
                {
                    "cite": cite,
                    "position": "dissents" if name in against else "supports",
                    "says": "as it said",
                }
                for cite, name in names.items()
            ],
            "citations": [
                {"cite": passage.cite, "quote": passage.text.split("\n")[0]} for passage in request.passages
            ],
            "confidence": confidence,
        }
    ).decode()


def plain(request: ModelRequest) -> str:
    quote = request.passages[0].text.strip().split("\n")[0]
    return orjson.dumps(
        {
            "answer": "The level of basin one is 212 metres, as the notes say.",
            "citations": [{"cite": request.passages[0].cite, "quote": quote}],
            "confidence": 0.9,
        }
    ).decode()


class Council:
    """What a model says to each; counts who was asked, and keeps what they saw."""

    def __init__(self, **answers: Callable[[ModelRequest], str]) -> None:
        self.answers = answers
        self.asked: Counter[str] = Counter()
        self.seen: dict[str, list[ModelRequest]] = {}

    def __call__(self, request: ModelRequest) -> str:
        name = who(request)
        self.asked[name] += 1
        self.seen.setdefault(name, []).append(request)
        if name in self.answers:
            return self.answers[name](request)
        if name == "synthesis":
            return synthesis(request)
        return plain(request) if name == "other" else opinion(request, f"Ten minutes, says the {name}")


def refuses(request: ModelRequest) -> str:
    raise ModelCallError(ErrorType.REFUSED, "I won't.")


def decisions(pipeline: Pipeline) -> list[DecisionRecord]:  # noqa: F811
    with pipeline.database.connect() as connection:
        return records(connection)


async def test_all_are_asked_alone_and_once_and_a_decision_is_made_of_what_they_say(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    pipeline.ingest(BOARD)
    council = Council()
    tally = await pipeline.model(council)
    assert council.asked == {
        "builder": 1,
        "sceptic": 1,
        "steward": 1,
        "synthesis": 1,
        "other": 2,
    }  # and the roll-up
    assert (tally.accepted, tally.deferred, tally.failed) == (6, 0, 0)
    for name in PERSONA:
        (request,) = council.seen[name]
        assert "says the" not in request.prompt  # what no other said
        assert "silence the flood alarm for longer?" in request.prompt
        assert "It is part of: Alarms" in request.prompt
    (request,) = council.seen["synthesis"]
    assert [passage.text.split(" says:")[0] for passage in request.passages] == list(PERSONA)
    (record,) = decisions(pipeline)
    assert (record.status, record.approved_by, record.review) == ("accepted", None, None)
    assert record.decided.decision.startswith("The alarm may be silenced for ten minutes")
    assert record.decided.confidence == pytest.approx(0.9)
    assert record.decided.agreement == 1.0
    assert [seat.position for seat in record.decided.members] == ["supports"] * 3
    assert all(seat.result and len(seat.recipe_hash) == 64 for seat in record.decided.members)
    assert (record.calls, record.prompt_tokens) == (4, 40)
    ((text, by),) = pipeline.rows(
        "select r.text, r.accepted_by from result r join item i on i.id = r.item_id where i.recipe = 'council'"
    )
    assert by == "checks"
    assert text.startswith("## Decision\n\nThe alarm may be silenced")
    assert "AB-1.1" in adr(record)
    assert "accepted by the checks" in adr(record)


async def test_a_second_run_asks_nobody(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest(BOARD)
    await pipeline.model(Council())
    again = Council()
    pipeline.ingest(BOARD)
    await pipeline.model(again)
    assert not again.asked


async def test_only_the_decision_is_remembered(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest(BOARD)
    await pipeline.model(Council())
    with pipeline.database.connect(autocommit=True) as connection:
        while remember_results(connection):
            pass
        found = connection.execute("select source, text from node where kind = 'answer'").fetchall()
        left = connection.execute("select count(*) from result where not remembered").fetchone()
    assert not any("says the" in text for _, text in found if not text.startswith("## "))
    assert any("silenced for ten minutes and no longer" in text for _, text in found)
    assert left == (0,)


async def test_dissent_bounds_the_confidence_and_a_person_decides(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest(BOARD)
    await pipeline.model(
        Council(synthesis=lambda request: synthesis(request, against=("sceptic",), confidence=1.0))
    )
    ((review, kind, error, _, proposal, reason),) = pipeline.reviews()
    assert (kind, error) == ("item", "council")
    assert "its confidence is 0.60, and 0.70 is asked for. 2 of 3 members" in reason
    assert proposal.startswith("## Decision")
    (record,) = decisions(pipeline)
    assert (record.status, record.review) == ("proposed", review)
    assert [seat.name for seat in record.decided.dissent] == ["sceptic"]
    await pipeline.decide(review, Decision.ACCEPT)
    (record,) = decisions(pipeline)
    assert (record.status, record.approved_by, record.edited) == ("accepted", "anna", False)
    ((by,),) = pipeline.rows(
        "select accepted_by from result r join item i on i.id = item_id where recipe = 'council'"
    )
    assert by == "person"


async def test_what_a_person_edits_is_the_decision(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest(BOARD)
    await pipeline.model(Council(synthesis=lambda request: synthesis(request, confidence=0.2)))
    ((review, *_),) = pipeline.reviews()
    await pipeline.decide(review, Decision.EDIT, "## Decision\n\nNever.\n\n## Risks\n\n- high: noise\n")
    (record,) = decisions(pipeline)
    assert (record.status, record.approved_by, record.edited) == ("accepted", "anna", True)
    assert (record.decided.decision, record.decided.reasons) == ("Never.", [])
    assert record.decided.risks == [{"risk": "noise", "level": "high"}]


async def test_a_high_risk_of_one_member_goes_to_a_person(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest(BOARD)
    await pipeline.model(
        Council(sceptic=lambda request: opinion(request, "Ten, says the sceptic", risk="high"))
    )
    ((_, _, error, _, _, reason),) = pipeline.reviews()
    assert error == "council"
    assert "A risk is high: named by sceptic." in reason


async def test_with_a_quorum_it_goes_on_without_who_failed_for_good(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest(BOARD)
    council = Council(sceptic=refuses)
    tally = await pipeline.model(council)
    assert council.asked == {"builder": 1, "sceptic": 3, "steward": 1, "synthesis": 1, "other": 2}
    assert (tally.failed, tally.deferred) == (1, 0)
    assert "sceptic (did not answer)" in council.seen["synthesis"][0].prompt
    (record,) = decisions(pipeline)
    assert record.status == "accepted"
    assert [(seat.name, seat.missing) for seat in record.decided.missing] == [("sceptic", "I won't.")]
    assert "## Missing\n\n- sceptic: I won't." in adr(record)


async def test_below_the_quorum_a_person_is_asked_and_retry_asks_only_the_missing(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    pipeline.ingest(BOARD)
    council = Council(sceptic=refuses, steward=refuses)
    await pipeline.model(council)
    assert council.asked["synthesis"] == 0
    ((review, _, error, _, proposal, reason),) = pipeline.reviews()
    assert (error, proposal) == ("council", None)
    assert (
        "1 of 3 members of its council answered, 2 must. Missing: sceptic (I won't.), steward (I won't.)"
        in reason
    )
    assert decisions(pipeline) == []
    with pytest.raises(InputError, match="no proposed answer"):
        await pipeline.decide(review, Decision.ACCEPT)
    assert await pipeline.decide(review, Decision.RETRY) == 2
    again = Council()
    await pipeline.model(again)
    assert again.asked == {"sceptic": 1, "steward": 1, "synthesis": 1, "other": 1}
    (record,) = decisions(pipeline)
    assert record.status == "accepted"
    assert record.decided.missing == []


async def test_below_the_quorum_a_person_may_decide_and_the_record_has_who_spoke(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    pipeline.ingest(BOARD)
    await pipeline.model(Council(sceptic=refuses, steward=refuses, builder=refuses))
    ((review, *_),) = pipeline.reviews()
    await pipeline.decide(review, Decision.EDIT, "Ten minutes.")
    (record,) = decisions(pipeline)
    assert (record.status, record.approved_by, record.decided.confidence) == ("accepted", "anna", None)
    assert len(record.decided.missing) == 3


async def test_a_rejected_decision_ends_the_item(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest(BOARD)
    await pipeline.model(Council(synthesis=lambda request: synthesis(request, confidence=0.1)))
    ((review, *_),) = pipeline.reviews()
    await pipeline.decide(review, Decision.REJECT)
    (record,) = decisions(pipeline)
    assert record.status == "rejected"
    assert pipeline.rows("select status from item where recipe = 'council'") == [(Status.CANCELLED,)]


async def test_a_synthesis_that_leaves_a_member_out_is_asked_again_with_the_reason(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    def forgetful(request: ModelRequest) -> str:
        answer = orjson.loads(synthesis(request))
        if "is not in `positions`" not in request.prompt:
            answer["positions"].pop()
        return orjson.dumps(answer).decode()

    pipeline.ingest(BOARD)
    council = Council(synthesis=forgetful)
    await pipeline.model(council)
    assert council.asked["synthesis"] == 2
    assert decisions(pipeline)[0].status == "accepted"


async def test_a_reworded_question_is_asked_anew_and_the_old_decision_is_superseded(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    pipeline.ingest(BOARD)
    await pipeline.model(Council())
    pipeline.ingest(BOARD.replace("for longer?", "for half an hour?"))
    again = Council()
    await pipeline.model(again)
    assert again.asked == {"builder": 1, "sceptic": 1, "steward": 1, "synthesis": 1, "other": 1}
    new, old = decisions(pipeline)
    assert (new.status, old.status) == ("accepted", "superseded")
    assert new.question == "may operators silence the flood alarm for half an hour?"


async def test_a_question_that_is_ticked_while_its_council_sits_is_asked_of_nobody(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    pipeline.ingest(BOARD)
    council = Council(sceptic=refuses, steward=refuses)
    await pipeline.model(council)
    pipeline.ingest(BOARD.replace("[ ] T AB-1.1", "[x] T AB-1.1"))
    assert pipeline.rows("select count(*) from council") == [(0,)]
    assert pipeline.reviews() == []
    again = Council()
    await pipeline.model(again)
    assert set(again.asked) <= {"other"}


async def test_a_member_keeps_its_model_when_the_board_is_read_again(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest(BOARD.replace("[recipe::", "[model:: large] [recipe::"))
    await pipeline.model(Council(sceptic=refuses, steward=refuses))
    with pipeline.database.connect(autocommit=True) as connection:
        connection.execute(
            "update item_source set labels = labels || '{\"model\": \"small\"}' where labels ->> 'member' = 'sceptic'"
        )
    pipeline.ingest("\n" + BOARD.replace("[recipe::", "[model:: huge] [recipe::"))
    found = dict(
        pipeline.rows(
            "select labels ->> 'member', model from item join item_source on item_id = id where labels ? 'member'"
        )
    )
    assert found == {"builder": "huge", "sceptic": "small", "steward": "huge"}


async def test_without_a_model_the_question_gets_its_brief(pipeline: Pipeline) -> None:  # noqa: F811
    """`extractive` may hold no council: the recipe's fallback prepares the decision, nobody waits for members."""
    pipeline.ingest(BOARD)
    await pipeline.extractive()
    assert pipeline.state(QUESTION) == (Status.WAITING, "consult")
    assert pipeline.rows("select count(*) from council") == [(0,)]


async def test_the_simulator_can_hold_a_council(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest(BOARD)
    tally = await pipeline.simulated()
    assert (tally.deferred, tally.failed, tally.retry) == (0, 0, 0)
    (record,) = decisions(pipeline)
    assert record.status == "accepted"
    assert record.decided.simulated
    assert "SIMULATED" in adr(record)


async def test_a_recipe_that_an_item_can_not_have_is_named(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest("- [ ] A\n- [ ] Which? [recipe:: rollup]\n- [ ] What? [recipe:: counsel]\n")
    found = pipeline.rows("select line, message from finding where code = 'unknown_recipe' order by line")
    assert [line for line, _ in found] == [2, 3]
    assert "consult, council, opinion" in found[0][1]
    assert "council_sceptic" not in found[0][1]


async def test_a_decision_that_the_checks_undo_later_is_decided_by_a_person_and_kept(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    """As `penstock validation rerun` does it: the result is superseded, and its text is the proposal."""
    pipeline.ingest(BOARD)
    await pipeline.model(Council())
    with pipeline.database.connect(autocommit=True) as connection:
        connection.execute(
            "with gone as (update result r set superseded_at = now() from item i where i.id = r.item_id"
            "   and i.recipe = 'council' and r.superseded_at is null returning r.item_id, r.text),"
            " moved as (update item set status = 3 from gone where id = gone.item_id)"
            " insert into review (subject, kind, item_id, title, reason, error_type, proposal)"
            " select 'item:' || item_id, 'item', item_id, 'q', 'why', 'rule', text from gone"
        )
    ((review, *_),) = pipeline.reviews()
    await pipeline.decide(review, Decision.ACCEPT)
    new, old = decisions(pipeline)
    assert (new.status, new.approved_by, old.status) == ("accepted", "anna", "superseded")
    assert new.decided.decision == old.decided.decision
    assert new.decided.reasons == ["The rule says ten minutes."]


async def test_members_are_asked_of_their_own_models_and_named_models_of_the_others(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    rule = pipeline.recipes["council"].header.council
    assert rule is not None
    members = [
        member.model_copy(update={"model": "large"}) if member.name == "sceptic" else member
        for member in rule.members
    ]
    council = pipeline.recipes["council"]
    header = council.header.model_copy(update={"council": rule.model_copy(update={"members": members})})
    own = dict(pipeline.recipes) | {"council": replace(council, header=header)}
    kinds = {kind: pipeline.recipes.for_kind(kind).name for kind in ["*", *pipeline.recipes.kinds()]}
    pipeline.recipes = Recipes(own, kinds)
    pipeline.ingest(BOARD.replace("[recipe::", "[model:: small] [recipe::"))
    asked = Council()
    await pipeline.model(asked)
    models = {name: {request.model for request in requests} for name, requests in asked.seen.items()}
    assert models["sceptic"] == {"large"}
    assert models["builder"] == models["steward"] == models["synthesis"] == {"small"}
    (record,) = decisions(pipeline)
    assert [seat.model for seat in record.decided.members] == ["small", "large", "small"]


async def test_a_decision_that_is_checked_again_still_passes(pipeline: Pipeline) -> None:  # noqa: F811
    """What the synthesis quotes is what is stored of each member."""
    pipeline.ingest(BOARD)
    await pipeline.model(Council())
    async with await pipeline.database.aconnect(autocommit=True) as connection:
        found = await recheck(connection, pipeline.recipes)
    assert (found.checked, found.failing, found.unchecked) == (6, [], [])
