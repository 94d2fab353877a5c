"""Councils that are asked again, and many of them at once."""

from __future__ import annotations

import sys
from collections import Counter

from models.calls import ModelRequest
from models.enums import Status
from models.run import Wish
from tasks.execute import Halt
from tasks.runs.again import Choice, ask_again, plan

from .test_council import BOARD, PERSONA, Council, decisions, opinion, refuses
from .test_splits import Pipeline, pipeline, recipes  # noqa: F401


async def again(pipeline: Pipeline, choice: Choice) -> int:  # noqa: F811
    with pipeline.database.connect() as reading:
        wanted = plan(reading, pipeline.boards, choice)
    async with await pipeline.database.aconnect(autocommit=True) as connection:
        return await ask_again(connection, wanted, by="ana")


def state(pipeline: Pipeline) -> tuple[int, str | None]:  # noqa: F811
    ((status, name),) = pipeline.rows(
        "select i.status, i.recipe from item i join council k on k.item_id = i.id"
    )
    return status, name


async def test_a_decision_stands_while_its_members_are_asked_again_and_is_made_once_of_what_is_new(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    pipeline.ingest(BOARD)
    await pipeline.model(Council())
    (before,) = decisions(pipeline)
    await again(pipeline, Choice(done=True))
    pipeline.ingest("\n" + BOARD)
    (now,) = decisions(pipeline)
    assert (now.id, now.status) == (before.id, "accepted")

    council = Council(builder=lambda request: opinion(request, "Eleven minutes, says the builder"))
    await pipeline.model(council)
    assert {name: council.asked[name] for name in (*PERSONA, "synthesis")} == dict.fromkeys(
        (*PERSONA, "synthesis"), 1
    )
    new, old = decisions(pipeline)
    assert (new.status, old.id, old.status) == ("accepted", before.id, "superseded")


async def test_a_call_that_was_not_made_is_not_counted(pipeline: Pipeline) -> None:  # noqa: F811
    """The same question on another board: every answer is found, so nobody was called and nothing was paid."""
    pipeline.ingest(BOARD)
    await pipeline.model(Council())
    pipeline.ingest(BOARD.replace("AB-1.2 — State", "AB-1.2 — Say"))
    with pipeline.database.connect(autocommit=True) as connection:
        connection.execute("update item set status = 0, recipe = null where recipe = 'council'")
        connection.execute(
            "update item set status = 1, ready = true, attempts = 0 where recipe like 'council\\_%'"
        )
        connection.execute("update result set superseded_at = now() where superseded_at is null")
    council = Council()
    await pipeline.model(council)
    assert council.asked["builder"] + council.asked["synthesis"] == 0
    new, _ = decisions(pipeline)
    assert (new.calls, new.prompt_tokens) == (4, 40), "the first time, and none since"


async def test_members_that_said_nothing_better_leave_the_decision_as_it_was(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    pipeline.ingest(BOARD)
    await pipeline.model(Council())
    before = decisions(pipeline)
    await again(pipeline, Choice(done=True))
    council = Council(builder=refuses, sceptic=refuses, steward=refuses, other=refuses)
    await pipeline.model(council)
    assert council.asked["synthesis"] == 0
    assert decisions(pipeline) == before
    assert pipeline.reviews() == []


async def test_asking_again_below_the_quorum_asks_the_missing_and_no_synthesis_of_too_few(
    pipeline: Pipeline,  # noqa: F811
) -> None:
    pipeline.ingest(BOARD)
    await pipeline.model(Council(sceptic=refuses, steward=refuses))
    assert state(pipeline) == (Status.WAITING, "council")
    await again(pipeline, Choice(deferred=True))
    council = Council(sceptic=refuses, steward=refuses)
    await pipeline.model(council)
    assert council.asked == Counter(sceptic=3, steward=3), "one of three answered, two must"
    assert state(pipeline) == (Status.WAITING, "council")
    assert len(pipeline.reviews()) == 1

    await again(pipeline, Choice(failed=True))
    assert state(pipeline) == (Status.PENDING, None), "it waits for its members"
    await pipeline.model(Council())
    (record,) = decisions(pipeline)
    assert record.status == "accepted"
    assert record.decided.missing == []


async def test_a_long_line_of_questions_is_no_deep_recursion(pipeline: Pipeline) -> None:  # noqa: F811
    questions = 250
    lines = [f"- [ ] Which pump, number {n}? [recipe:: council]\n" for n in range(questions)]
    pipeline.ingest("# Board\n" + "".join(lines))
    pipeline.settings = pipeline.settings.model_copy(update={"batch_size": 2})
    halt = Halt()

    def first(request: ModelRequest) -> str:
        halt.tell(Wish.PAUSE, "It was paused.")
        return Council()(request)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(questions)
    try:
        await pipeline.model(first, halt=halt)
    finally:
        sys.setrecursionlimit(limit)
    assert pipeline.rows("select count(*) from council") == [(questions,)]
