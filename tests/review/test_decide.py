"""Decisions on a real database: the four transitions, dependents, two deciders at once, and any order of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.enums import Decision, Status
from models.errors import InputError
from models.review import Decided
from sql.connection import Database
from tasks.review import decide, open_reviews, review_case

T = TypeVar("T")

AFTER = {
    Decision.ACCEPT: Status.DONE,
    Decision.EDIT: Status.DONE,
    Decision.RETRY: Status.READY,
    Decision.REJECT: Status.CANCELLED,
}


@dataclass
class Board:
    """One board with deferred items; each may be needed by one more that waits."""

    database: Database
    id: int = 0
    items: list[int] = field(default_factory=list)
    reviews: list[int] = field(default_factory=list)
    dependents: list[int] = field(default_factory=list)

    def fill(self, proposals: Sequence[str | None], details: dict[str, Any] | None = None) -> Board:
        with self.database.connect() as connection:
            self.id = self._one(
                connection,
                "insert into board (source, dialect, encoding, sha256) values (%s, 'gfm', 'utf-8', '') returning id",
                f"{uuid.uuid4()}.md",
            )
            for number, proposal in enumerate(proposals):
                item = self._item(connection, 2 * number, Status.WAITING, f"question {number}")
                after = self._item(connection, 2 * number + 1, Status.PENDING, f"after {number}")
                connection.execute("insert into need (item_id, needs_id) values (%s, %s)", [after, item])
                self.items.append(item)
                self.dependents.append(after)
                self.reviews.append(
                    self._one(
                        connection,
                        "insert into review (subject, kind, item_id, title, reason, error_type, proposal, details)"
                        " values (%s, 'item', %s, %s, 'why', 'no_evidence', %s, %s::jsonb) returning id",
                        f"item:{item}",
                        item,
                        f"question {number}",
                        proposal,
                        orjson.dumps(details or {}).decode(),
                    )
                )
        return self

    def _item(self, connection: psycopg.Connection[Any], position: int, status: Status, title: str) -> int:
        item = self._one(
            connection,
            "insert into item (board_id, key, position, status, recipe, attempts, tries)"
            " values (%s, gen_random_uuid(), %s, %s, 'task', 3, 5) returning id",
            self.id,
            position,
            int(status),
        )
        connection.execute(
            "insert into item_source (item_id, kind, title, line, declared, content_hash)"
            " values (%s, 'task', %s, %s, 'todo', '')",
            [item, title, position + 1],
        )
        return item

    @staticmethod
    def _one(connection: psycopg.Connection[Any], query: str, *values: object) -> int:
        row = connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return int(row[0])

    def count(self, query: str, *values: object) -> int:
        with self.database.connect() as connection:
            return self._one(connection, query, *values)

    def status(self, item: int) -> Status:
        return Status(self.count("select status from item where id = %s", item))

    async def decide(self, number: int, decision: Decision, **more: Any) -> Decided:
        async with self.connected() as connection:
            return await decide(connection, self.reviews[number], decision, by="anna", **more)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        connection = await self.database.aconnect(autocommit=True)
        try:
            yield connection
        finally:
            await connection.close()


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        return await work()

    return asyncio.run(whole())


@pytest.mark.parametrize("decision", list(Decision))
def test_each_decision_moves_its_item_and_what_needs_it(database: Database, decision: Decision) -> None:
    board = Board(database).fill(["the proposal"], {"citations": [{"cite": "a.md:1", "quote": "q"}]})
    text = "my own words" if decision is Decision.EDIT else None

    decided = run(lambda: board.decide(0, decision, text=text, note="because"))

    assert decided.released == 1
    assert board.status(board.items[0]) is AFTER[decision]
    settled = decision is not Decision.RETRY
    assert board.status(board.dependents[0]) is (Status.READY if settled else Status.PENDING)
    with database.connect() as connection:
        results = connection.execute("select text, accepted_by, citations from result").fetchall()
        kept = connection.execute(
            "select decision, note, decided_by, decided_at is not null from review"
        ).fetchone()
        item = connection.execute(
            "select attempts, tries, ready from item where id = %s", [board.items[0]]
        ).fetchone()
    assert kept == (decision, "because", "anna", True)
    match decision:
        case Decision.ACCEPT:
            assert results == [("the proposal", "person", [{"cite": "a.md:1", "quote": "q"}])]
        case Decision.EDIT:
            assert results == [("my own words", "person", [])], (
                "the machine's citations don't back a person's words"
            )
        case Decision.RETRY:
            assert item == (0, 5, True), "fresh attempts, and tries still number the history"
            assert not results
        case Decision.REJECT:
            assert not results


def test_an_accepted_simulated_proposal_stays_marked(database: Database) -> None:
    board = Board(database).fill(["p", "q"], {"simulated": True})
    run(lambda: board.decide(0, Decision.ACCEPT))
    run(lambda: board.decide(1, Decision.EDIT, text="by hand"))
    with database.connect() as connection:
        assert connection.execute("select text, simulated from result order by id").fetchall() == [
            ("p", True),
            ("by hand", False),
        ]


def test_what_cannot_be_decided_changes_nothing(database: Database) -> None:
    board = Board(database).fill([None, "p"])
    with pytest.raises(InputError, match="no proposed answer to accept"):
        run(lambda: board.decide(0, Decision.ACCEPT))
    with pytest.raises(InputError, match="needs the text"):
        run(lambda: board.decide(1, Decision.EDIT, text=" \n"))
    with database.connect() as connection:
        connection.execute("update item set status = 1, ready = true where id = %s", [board.items[1]])
    for decision in Decision:
        with pytest.raises(InputError, match="no longer waiting"):
            run(lambda decision=decision: board.decide(1, decision, text="t"))  # type: ignore[misc]
    board.reviews.append(10**12)
    with pytest.raises(InputError, match="There is no review 1000000000000"):
        run(lambda: board.decide(2, Decision.REJECT))
    assert board.count("select count(*) from review where decided_at is not null") == 0
    assert board.count("select count(*) from result") == 0


@pytest.mark.parametrize("other", list(Decision))
def test_of_two_deciders_at_once_one_decides(database: Database, other: Decision) -> None:
    board = Board(database).fill(["p"])

    async def both() -> Sequence[Decided | BaseException]:
        return await asyncio.gather(
            board.decide(0, Decision.ACCEPT), board.decide(0, other, text="t"), return_exceptions=True
        )

    outcomes = run(both)

    (decided,) = [each for each in outcomes if isinstance(each, Decided)]
    (refused,) = [each for each in outcomes if isinstance(each, BaseException)]
    assert isinstance(refused, InputError)
    assert f"was decided before: {decided.decision} by anna" in str(refused)
    assert board.status(board.items[0]) is AFTER[decided.decision]
    assert board.count("select count(*) from result") == int(AFTER[decided.decision] is Status.DONE)


Step = tuple[int, Decision, str | None]
TEXT = st.one_of(st.none(), st.sampled_from(["", " ", "an answer"]))
STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(list(Decision)), TEXT), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(proposals=st.lists(TEXT, min_size=3, max_size=3), steps=STEPS)
def test_any_order_of_decisions_keeps_the_rules(
    database: Database, proposals: list[str | None], steps: list[Step]
) -> None:
    """One decision each; a settled item has at most one current result; dependents are ready exactly then."""
    board = Board(database).fill(proposals)
    model: dict[int, Decision] = {}

    async def all_steps() -> None:
        async with board.connected() as connection:
            for number, decision, text in steps:
                final = text if decision is Decision.EDIT else proposals[number]
                possible = number not in model and (
                    decision in (Decision.RETRY, Decision.REJECT) or bool((final or "").strip())
                )
                try:
                    await decide(connection, board.reviews[number], decision, text=text, by="anna")
                except InputError:
                    assert not possible
                else:
                    assert possible
                    model[number] = decision
            left = {review.id for review in await open_reviews(connection, boards=[board.id])}
            assert left == {review for number, review in enumerate(board.reviews) if number not in model}
            for number, decision in model.items():
                case = await review_case(connection, board.reviews[number])
                assert case.decision == decision

    run(all_steps)

    for number, (item, after) in enumerate(zip(board.items, board.dependents, strict=True)):
        status = AFTER[model[number]] if number in model else Status.WAITING
        assert board.status(item) is status
        results = board.count(
            "select count(*) from result where item_id = %s and superseded_at is null", item
        )
        assert results == int(status is Status.DONE)
        settled = status in (Status.DONE, Status.CANCELLED)
        assert board.status(after) is (Status.READY if settled else Status.PENDING)
