"""A parent whose parts were executed gets a synthesis of their accepted results, once, and anew when one changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from backends.extractive import ExtractiveBackend
from models.calls import ModelCallError, ModelRequest, Passage
from models.enums import BackendName, Decision, ErrorType, Status
from models.recipe import Recipe
from models.settings import Endpoint, Settings
from sql.connection import Database
from sql.statements import statement
from tasks.execute import Seat, Stages, drain_any
from tasks.execute.parts import MOST_PARTS, gather
from tasks.execute.work import ClaimedItem
from tasks.prompts import render
from tasks.recipes import load_recipes
from tasks.review import decide
from tasks.validate import validate_batch

from .conftest import InProcess, World, answered, no_recall, no_split, recipe

ROLLUP = recipe("rollup")


class Tree:
    """A board with one parent and parts below it; what they came to is put straight into the tables."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.board = self.one(
            "insert into board (source, dialect, encoding, sha256) values ('/b', 'gfm', 'utf-8', '') returning id"
        )

    def one(self, query: str, *values: object) -> int:
        with self.database.connect(autocommit=True) as connection:
            row = connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return int(row[0])

    def add(
        self,
        title: str,
        status: Status = Status.PENDING,
        *,
        parent: int | None = None,
        recipe: str | None = None,
        text: str | None = None,
        simulated: bool = False,
    ) -> int:
        item = self.one(
            "insert into item (board_id, parent_id, key, position, status, recipe)"
            " values (%s, %s, gen_random_uuid(), 0, %s, %s) returning id",
            self.board,
            parent,
            int(status),
            recipe,
        )
        with self.database.connect(autocommit=True) as connection:
            connection.execute(
                "insert into item_source (item_id, kind, title, line, declared, content_hash)"
                " values (%s, 'task', %s, %s, 'todo', '')",
                [item, title, item],
            )
        if text is not None:
            self.result(item, text, simulated=simulated)
        return item

    def result(self, item: int, text: str, *, simulated: bool = False) -> None:
        with self.database.connect(autocommit=True) as connection:
            connection.execute("update result set superseded_at = now() where item_id = %s", [item])
            connection.execute(
                "insert into result (item_id, text, accepted_by, simulated) values (%s, %s, 'checks', %s)",
                [item, text, simulated],
            )

    def advance(self, *items: int) -> int:
        if items:
            return self.one("select penstock_advance(%s)", list(items))
        return self.one("select penstock_advance_board(%s)", self.board)

    def state(self, item: int) -> tuple[Status, str | None]:
        with self.database.connect() as connection:
            row = connection.execute(
                "select status, recipe, ready from item where id = %s", [item]
            ).fetchone()
        assert row is not None
        assert row[2] == (row[0] == Status.READY)
        return Status(row[0]), row[1]

    def text(self, item: int) -> str | None:
        with self.database.connect() as connection:
            row = connection.execute(
                "select text from result where item_id = %s and superseded_at is null", [item]
            ).fetchone()
        return row[0] if row else None


@pytest.fixture
def tree(database: Database) -> Tree:
    return Tree(database)


@pytest.mark.parametrize("whole", [True, False])
def test_settled_only_with_its_synthesis(tree: Tree, whole: bool) -> None:
    top = tree.add("top")
    parent = tree.add("parent", parent=top)
    done = tree.add("one", Status.DONE, parent=parent, recipe="task", text="one is blue")
    ticked = tree.add("two", Status.SKIPPED, parent=parent)
    after = tree.add("after", recipe="task")
    tree.one("insert into need values (%s, %s) returning 1", after, parent)
    assert tree.advance(*([] if whole else [done, ticked])) == 1
    assert tree.state(parent) == (Status.READY, "rollup")
    assert tree.state(top) == (Status.PENDING, None)
    assert tree.state(after) == (Status.PENDING, "task")
    assert tree.advance() == 0, "the same board again changes nothing"

    tree.one("update item set status = 4, ready = false where id = %s returning 1", parent)
    tree.result(parent, "all is blue")
    assert tree.advance(parent) == 2
    assert tree.state(top) == (Status.READY, "rollup")
    assert tree.state(after) == (Status.READY, "task")


@pytest.mark.parametrize("whole", [True, False])
def test_what_was_done_on_the_board_alone_needs_none(tree: Tree, whole: bool) -> None:
    parent = tree.add("parent")
    ticked = [tree.add(f"part {n}", Status.SKIPPED, parent=parent) for n in range(2)]
    unwanted = tree.add("phase")
    tree.one("update item set rollup = false where id = %s returning 1", unwanted)
    part = tree.add("done", Status.DONE, parent=unwanted, recipe="task", text="it is done")
    assert tree.advance(*([] if whole else [*ticked, part])) == 0
    assert tree.state(parent) == (Status.SKIPPED, None)
    assert tree.state(unwanted) == (Status.DONE, None)


@pytest.mark.parametrize("state", [Status.READY, Status.RUNNING, Status.WAITING, Status.DONE])
def test_another_result_of_a_part_makes_it_due_again(tree: Tree, state: Status) -> None:
    parent = tree.add("parent")
    part = tree.add("one", Status.DONE, parent=parent, recipe="task", text="blue")
    tree.advance()
    tree.one(
        "update item set status = %s, ready = %s, attempts = 2, lease = 7 where id = %s returning 1",
        int(state),
        state is Status.READY,
        parent,
    )
    if state is Status.DONE:
        tree.result(parent, "it is blue")
    if state is Status.WAITING:
        tree.one(
            "insert into review (subject, kind, item_id, title, reason, error_type)"
            " values ('item:' || %s, 'item', %s, 't', 'r', 'rule') returning id",
            parent,
            parent,
        )
    assert tree.advance() == 0
    assert tree.state(parent)[0] is state, "nothing changed below it"

    tree.result(part, "red")
    assert tree.advance() == 1
    assert tree.state(parent) == (Status.READY, "rollup")
    assert tree.text(parent) is None
    assert tree.one("select count(*) from review where decided_at is null") == 0
    assert tree.one("select coalesce(lease, 0) + attempts from item where id = %s", parent) == 0

    tree.one("update item set status = 0 where id = %s returning 1", part)
    tree.one(
        "update result set superseded_at = now() where item_id = %s and superseded_at is null returning 1",
        part,
    )
    tree.advance()
    assert tree.state(parent) == (Status.PENDING, None), "a part is open again"


def test_parts_that_lost_their_results_leave_a_plain_container(tree: Tree) -> None:
    parent = tree.add("parent")
    part = tree.add("one", Status.DONE, parent=parent, recipe="task", text="blue")
    tree.advance()
    tree.one("update result set superseded_at = now() returning 1")
    tree.one("update item set status = 7 where id = %s returning 1", part)
    assert tree.advance() == 0
    assert tree.state(parent) == (Status.SKIPPED, None)


async def test_the_synthesis_is_asked_from_the_parts_and_kept(world: World) -> None:
    tree = Tree(world.database)
    top = tree.add("top")
    parent = tree.add("parent", parent=top)
    for number in range(3):
        tree.add(f"part {number}", Status.READY, parent=parent, recipe="task")
    rejected = tree.add("not this", Status.CANCELLED, parent=parent, recipe="task")
    with world.database.connect() as connection:
        connection.execute("update item set ready = (status = 1)")
    seen: list[ModelRequest] = []

    async def reply(request: ModelRequest) -> str:
        seen.append(request)
        return await answered(request)

    tally = await world.drain(InProcess(reply), recipe(passages=6), ROLLUP)

    assert tally.accepted == 5
    synthesis, last = seen[3:]
    assert (synthesis.item_id, last.item_id) == (parent, top), "the parent's own parent after it"
    assert synthesis.rolls_up
    assert not seen[0].rolls_up
    assert [passage.text for passage in synthesis.passages] == [await answered(one) for one in seen[:3]]
    assert "- not this (rejected, not done)" in synthesis.question
    assert tree.state(parent) == (Status.DONE, "rollup")
    assert tree.state(rejected)[0] is Status.CANCELLED
    again = await world.drain(InProcess(reply), recipe(), ROLLUP)
    assert again.batches == 0


async def test_parts_that_change_while_the_model_writes_make_its_synthesis_void(world: World) -> None:
    tree = Tree(world.database)
    parent = tree.add("parent")
    part = tree.add("one", Status.DONE, parent=parent, recipe="task", text="blue")
    tree.advance()
    asked: list[str] = []

    async def reply(request: ModelRequest) -> str:
        asked.append(request.passages[0].text)
        if len(asked) == 1:
            tree.result(part, "red")
            tree.advance()  # as an ingest does after its own changes
        return await answered(request)

    tally = await world.drain(InProcess(reply), ROLLUP)
    assert asked == ["blue", "red"]
    assert (tally.accepted, tally.ignored) == (1, 1)


async def test_a_change_that_found_the_item_locked_is_seen_when_it_is_settled(world: World) -> None:
    """Whoever advances a board skips rows that are locked: the one who holds them looks again."""
    tree = Tree(world.database)
    parent = tree.add("parent")
    part = tree.add("one", Status.DONE, parent=parent, recipe="task", text="blue")
    tree.advance()
    asked: list[str] = []

    async def reply(request: ModelRequest) -> str:
        asked.append(request.passages[0].text)
        if len(asked) == 1:
            tree.result(part, "red")  # no advance: as if it had skipped the parent
        return await answered(request)

    await world.drain(InProcess(reply), ROLLUP)
    assert asked == ["blue", "red"]
    assert tree.state(parent) == (Status.DONE, "rollup")


async def test_a_synthesis_that_fails_goes_to_a_person_who_may_do_without(world: World) -> None:
    tree = Tree(world.database)
    top = tree.add("top")
    parents = [tree.add(f"parent {n}", parent=top) for n in range(2)]
    for parent in parents:
        tree.add(f"part of {parent}", Status.DONE, parent=parent, recipe="task", text="blue")
    tree.advance()

    async def reply(request: ModelRequest) -> str:
        raise ModelCallError(ErrorType.EMPTY, "nothing")

    tally = await world.drain(InProcess(reply), ROLLUP)
    assert tally.deferred == 2
    assert tree.state(top) == (Status.PENDING, None)
    with world.database.connect() as connection:
        reviews = [row[0] for row in connection.execute("select id from review order by item_id")]
    async with await world.database.aconnect(autocommit=True) as person:
        await decide(person, reviews[0], Decision.REJECT, by="anna")
        assert tree.state(parents[0]) == (Status.DONE, "rollup"), "its part is done; it has no synthesis"
        assert tree.text(parents[0]) is None
        decided = await decide(person, reviews[1], Decision.EDIT, text="It is blue.", by="anna")
    assert decided.released == 1
    assert tree.state(top) == (Status.READY, "rollup")


async def test_a_killed_drain_leaves_a_synthesis_that_is_made_again(world: World) -> None:
    tree = Tree(world.database)
    parent = tree.add("parent")
    tree.add("one", Status.DONE, parent=parent, recipe="task", text="blue")
    tree.advance()
    started = asyncio.Event()

    async def hang(request: ModelRequest) -> str:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    running = asyncio.create_task(world.drain(InProcess(hang), ROLLUP))
    await started.wait()
    assert tree.state(parent) == (Status.RUNNING, "rollup")
    assert tree.advance() == 0
    assert tree.state(parent) == (Status.RUNNING, "rollup"), "nobody else touches what is claimed"
    with world.database.connect() as connection:
        connection.execute("update lease set expires_at = now() - interval '1 s'")
    tally = await world.drain(InProcess(answered), ROLLUP)
    assert tally.accepted == 1
    assert tree.state(parent) == (Status.DONE, "rollup")
    assert tree.one("select count(*) from result where item_id = %s", parent) == 1
    running.cancel()
    await asyncio.wait([running])


async def test_without_a_model_each_part_is_quoted_and_cited(world: World, tree: Tree) -> None:
    """The built-in recipe and every check, on the backend that every machine has."""
    parent = tree.add("Describe the valves")
    long = "The upper valve opens at noon. " * 100
    parts = [
        tree.add(
            "lower", Status.DONE, parent=parent, recipe="task", text="The lower valve is shut.\nAlways."
        ),
        tree.add("upper", Status.DONE, parent=parent, recipe="task", text=long),
        tree.add("short", Status.DONE, parent=parent, recipe="task", text="No.", simulated=True),
    ]
    tree.advance()
    recipes = load_recipes(Settings())
    endpoint = Endpoint(backend=BackendName.EXTRACTIVE, url="extractive://local")

    def prompt(
        recipe: Recipe,
        item: ClaimedItem,
        passages: Sequence[Passage],
        reason: str | None,
        *,
        share: float = 1.0,
    ) -> Any:
        return render(recipe, item, passages, reason, context_tokens=endpoint.context_tokens)

    stages = Stages(no_recall, prompt, validate_batch, no_split)
    tally = await drain_any(
        world.database,
        [Seat(ExtractiveBackend(endpoint), endpoint, "extractive", stages)],
        recipes=recipes,
        settings=world.settings,
        trace_id="t",
    )
    assert tally.accepted == 1
    with world.database.connect() as connection:
        row = connection.execute(
            "select text, citations, accepted_by, simulated from result where item_id = %s", [parent]
        ).fetchone()
    assert row is not None
    text, citations, accepted_by, simulated = row
    assert [one["cite"] for one in citations] == [f"item:{part}" for part in parts]
    assert "The lower valve is shut. Always. [item:" in text
    assert long.startswith(citations[1]["quote"])
    assert 300 < len(citations[1]["quote"]) <= 600
    assert accepted_by == "checks"
    assert simulated, "made of a simulated result"


def test_every_part_is_heard_whatever_its_length() -> None:
    item = ClaimedItem(1, 1, "rollup", None, 0, 1, "task", None, "t", "body", 1, {}, "b.md", "", None, None)
    rows = [
        (1, n, None, f"part {n}", 4, "word " * length, False) for n, length in [(2, 5), (3, 5000), (4, 2000)]
    ]
    (parts,) = gather(rows, [item], 10_000)
    lengths = [len(passage.text) for passage in parts.passages]
    assert lengths[0] == len("word " * 5) - 1
    assert abs(lengths[1] - lengths[2]) < 10
    assert 5_000 < sum(lengths) <= 6_000
    assert not parts.passages[1].text.endswith(" ")
    assert parts.told(item).body.splitlines()[:3] == [
        "body",
        "Parts:",
        "- part 2 (done; its result is item:2)",
    ]
    many = [(1, n, None, f"part {n}", 4, "x", False) for n in range(MOST_PARTS + 2)]
    (parts,) = gather(many, [item], 10_000)
    assert len(parts.passages) == MOST_PARTS
    assert sum("left out here" in line for line in parts.lines) == 2


def test_the_setting_says_which_parents_want_one(tree: Tree) -> None:
    phase, parent, split = (tree.add(title) for title in ("phase", "parent", "split"))
    with tree.database.connect(autocommit=True) as connection:
        for item, origin in ((phase, "phase"), (parent, "board"), (split, "board")):
            connection.execute("update item_source set origin = %s where item_id = %s", [origin, item])
            part = tree.add(f"of {item}", Status.DONE, parent=item, recipe="task", text="blue")
            if item == split:
                connection.execute("update item_source set origin = 'split' where item_id = %s", [part])

        def wanting(mode: str) -> set[int]:
            connection.execute(statement("decompose.want_rollups"), {"board": tree.board, "rollup": mode})
            tree.advance()
            return {item for item in (phase, parent, split) if tree.state(item)[1] == "rollup"}

        assert wanting("true") == {parent, split}
        assert wanting("split") == {split}
        assert wanting("false") == set()
        assert [tree.state(item)[0] for item in (phase, parent, split)] == [Status.DONE] * 3
        assert wanting("true") == {parent, split}
