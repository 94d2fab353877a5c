"""Boards with large items, from text to parts: structure first, once, and only what an edit changed runs again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import sources
from models.board import ParsedBoard
from models.enums import Decision, Status
from models.errors import InputError
from models.settings import Settings
from sql.connection import Database
from tasks.decompose import Decomposition, Wishes, decompose_board
from tasks.ingest import ingest_board
from tasks.recipes import Recipes, load_recipes
from tasks.review import decide

Connection = psycopg.Connection[Any]
Run = Callable[..., Decomposition]

BOARD = """# Board

- [ ] Build the export
  1. Write the schema of the table
  2. Write the endpoint and its errors
  3. Add the button to the page
  4. Describe all of it in the guide

  Acceptance criteria:
  - it works offline
- [ ] Paint the fence
- [ ] Ship it (after: 3)
"""


@pytest.fixture(scope="module")
def recipes() -> Recipes:
    return load_recipes(Settings())


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def run(connection: Connection, recipes: Recipes) -> Run:
    def go(text: str, wishes: Wishes | None = None, dialect: str | None = None) -> Decomposition:
        board = sources.parse(text.encode(), "board.md", dialect)
        delta = ingest_board(connection, board, source="/board.md")
        return decompose_board(connection, delta.board_id, recipes, wishes)

    return go


def items(connection: Connection) -> dict[str, tuple[Status, str | None, str]]:
    rows = connection.execute(
        "select title, status, recipe, origin from item join item_source on item_id = id"
        " where removed_at is null order by position, id"
    )
    return {title: (Status(status), recipe, origin) for title, status, recipe, origin in rows}


def answer(connection: Connection, *titles: str) -> None:
    """As a drain leaves them: done, with a result."""
    for title in titles:
        row = connection.execute(
            "update item set status = 4, ready = false from item_source where item_id = id and title = %s"
            " and removed_at is null returning id",
            [title],
        ).fetchone()
        assert row
        connection.execute(
            "insert into result (item_id, text, accepted_by) values (%s, %s, 'checks')",
            [row[0], f"{title}: done"],
        )
        connection.execute("select penstock_advance(array[%s]::bigint[])", [row[0]])


def one(connection: Connection, query: str, *values: object) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row


def decide_sync(database: Database, review: int, decision: Decision, text: str | None = None) -> int:
    async def go() -> int:
        async with await database.aconnect(autocommit=True) as own:
            return (await decide(own, review, decision, text=text, by="anna")).released

    return asyncio.run(go())


PARTS = [
    "Write the schema of the table",
    "Write the endpoint and its errors",
    "Add the button to the page",
    "Describe all of it in the guide",
]


def test_an_items_own_list_becomes_its_parts(connection: Connection, run: Run) -> None:
    found = run(BOARD)
    assert (found.split, found.parts, found.plans) == (1, 4, 0)
    now = items(connection)
    assert now["Build the export"] == (Status.PENDING, None, "board")
    assert [now[title] for title in PARTS] == [(Status.READY, "task", "split")] * 4
    assert now["Paint the fence"] == (Status.READY, "task", "board")
    body, line, labels = one(
        connection, "select body, line, labels from item_source where title = %s", PARTS[1]
    )
    assert body == "", "the criterion of the whole item is the item's"
    assert line == 3
    assert labels == {"split_level": "1", "acceptance": "its own text: no criterion is given"}
    kept = one(connection, "select body from item_source where title = 'Build the export'")[0]
    assert kept.endswith("- it works offline"), "what its roll-up is told"
    assert one(connection, "select complexity from item_source where title = 'Build the export'")[0] > 5
    assert one(connection, "select complexity from item_source where title = 'Paint the fence'") == (None,)
    again = run(BOARD)
    assert (again.split, again.leaves, again.containers) == (0, found.leaves, found.containers)

    answer(connection, *PARTS)
    assert items(connection)["Build the export"] == (Status.READY, "rollup", "board")


def test_only_the_step_that_was_edited_is_done_again(connection: Connection, run: Run) -> None:
    run(BOARD)
    answer(connection, *PARTS)
    run(BOARD.replace("Add the button to the page", "Add the green button to the page"))
    now = items(connection)
    kept = [now[title] for title in (PARTS[0], PARTS[1], PARTS[3])]
    assert kept == [(Status.DONE, "task", "split")] * 3, "with its recipe: it counts as answered work"
    assert now["Add the green button to the page"][0] is Status.READY
    assert "Add the button to the page" not in now
    assert now["Build the export"] == (Status.PENDING, None, "board")
    answer(connection, "Add the green button to the page")
    assert items(connection)["Build the export"] == (Status.READY, "rollup", "board")


@pytest.mark.parametrize("above", [0, 9])
def test_the_setting_says_what_is_split(connection: Connection, run: Run, above: int) -> None:
    found = run(BOARD, Wishes(split_above=above))
    assert found.split == 0
    assert items(connection)["Build the export"] == (Status.READY, "task", "board")


KANBAN = """# Board
[ ] EP A — Alarms
   [ ] FEAT A-1 — Alarm levels
   [ ] US A-2 — Alarm sounds
       estimate: 1h
   [ ] T A-3 — Paint the bell
   [ ] T A-4 — CONSULT — which bells, which walls, which hours, which people, which rules and which colours?
"""


def test_the_score_decides_of_kinds_that_are_split(connection: Connection, run: Run) -> None:
    run(KANBAN)
    recipe = {title: recipe for title, (_, recipe, _) in items(connection).items()}
    assert recipe["Alarm levels"] == "split"
    assert recipe["Alarm sounds"] == "task", "somebody declared an hour"
    assert recipe["Paint the bell"] == "task"
    assert "consult" in recipe.values()
    run(KANBAN.replace("levels", "degrees"), Wishes(split_above=0))
    assert items(connection)["Alarm degrees"][1] == "task", "off is off"


def test_a_large_item_without_a_list_is_for_a_model(connection: Connection, run: Run) -> None:
    prose = " ".join(
        f"The part {n} of `src/p{n}.py` must read the file, check it and say what is wrong." for n in range(9)
    )
    run(f"- [ ] Build the importer\n  {prose}\n")
    assert items(connection)["Build the importer"] == (Status.READY, "split", "board")


def test_a_plan_waits_for_a_person_and_holds_nothing(
    database: Database, connection: Connection, run: Run
) -> None:
    found = run(BOARD, Wishes(approve=True))
    assert (found.split, found.plans) == (0, 1)
    assert items(connection)["Build the export"] == (Status.WAITING, "split", "board")
    review, kind, error, proposal = one(connection, "select id, kind, error_type, proposal from review")
    assert (kind, error) == ("plan", "plan")
    assert proposal.startswith(
        "1. Write the schema of the table\n   - Write the schema of the table (its own"
    )
    assert one(connection, "select count(*) from item where lease is not null") == (0,)
    assert run(BOARD, Wishes(approve=True)).plans == 0
    assert one(connection, "select count(*) from review") == (1,)

    for text, words in [
        ("1. only one\n   - x", "one subtask only"),
        ("1. Paint the fence\n   - x\n2. other\n   - y", "is an item already, on line 11 of the board"),
        ("1. build the  EXPORT\n   - x\n2. other\n   - y", "is the item itself"),
        ("1. a\n2. b\n   - y", "no acceptance criteria"),
        ("1. a\n   - x\n   - needs: 2\n2. b\n   - y\n   - needs: 1", "wait for one another"),
        ("nonsense", "is no part"),
    ]:
        with pytest.raises(InputError, match=words):
            decide_sync(database, review, Decision.EDIT, text)
    assert one(connection, "select count(*) from review where decided_at is null") == (1,)
    assert len(items(connection)) == 3

    released = decide_sync(
        database,
        review,
        Decision.EDIT,
        "1. Draw it\n   - it is drawn\n2. Build it\n   - it runs\n   - needs: 1\n",
    )
    assert released == 1
    now = items(connection)
    assert (now["Draw it"][0], now["Build it"][0]) == (Status.READY, Status.PENDING)
    answer(connection, "Draw it")
    assert items(connection)["Build it"][0] is Status.READY
    run(
        BOARD.replace("Paint the fence", "Paint the long fence")
    )  # the needs of the board are put in place anew
    assert one(connection, "select count(*) from need") == (1,)
    answer(connection, "Build it")
    assert items(connection)["Build the export"] == (Status.READY, "rollup", "board")


def test_the_other_decisions_about_a_plan(database: Database, connection: Connection, run: Run) -> None:
    boards = "\n".join(BOARD.split("# Board")[1].replace("export", f"{n}th export") for n in range(4))
    run(boards.replace("Paint the fence", "").replace("- [ ] \n", ""), Wishes(approve=True))
    reviews = [
        row[0] for row in connection.execute("select id from review where kind = 'plan' order by item_id")
    ]
    assert len(reviews) == 4
    assert decide_sync(database, reviews[0], Decision.ACCEPT) == 4
    assert decide_sync(database, reviews[1], Decision.REJECT) == 0
    assert decide_sync(database, reviews[2], Decision.RETRY) == 1
    assert decide_sync(database, reviews[3], Decision.EDIT, " Whole\n") == 1
    now = items(connection)
    assert now["Build the 0th export"][:2] == (Status.PENDING, None)
    assert now["Build the 1th export"][0] is Status.CANCELLED
    assert now["Build the 2th export"][:2] == (Status.READY, "split"), "a model is asked now"
    assert now["Build the 3th export"][:2] == (Status.READY, "task"), "done as it stands"


PRD = """# Product requirements: levels

## Background
The old tool is slow.

## Requirements
- The user sees the level of each basin
- The user exports the levels as CSV

## Out of scope
- Payments of any kind
"""


def prd(text: str) -> ParsedBoard:
    board = sources.parse(text.encode(), "prd.md")
    board.dialect = "prd"
    return board


def test_a_requirements_document_is_one_item_that_is_split(connection: Connection, recipes: Recipes) -> None:
    def go(text: str) -> Decomposition:
        delta = ingest_board(connection, prd(text), source="/prd.md")
        assert (delta.added, delta.changed, delta.removed) == (0, 0, 0), "it has no items of its own"
        return decompose_board(connection, delta.board_id, recipes)

    found = go(PRD)
    assert found.parts == 2
    assert [(finding.code, finding.line) for finding in found.findings] == [("sections_left_out", 3)]
    assert "'Background' (line 3), 'Out of scope' (line 10)" in found.findings[0].message
    now = items(connection)
    document = "Product requirements: levels"
    assert now[document] == (Status.PENDING, None, "document")
    assert one(connection, "select line from item_source where title like '%%CSV'") == (8,)
    first, second = [title for title in now if title != document]
    answer(connection, first, second)
    assert items(connection)[document] == (Status.READY, "rollup", "document")
    answer(connection, document)

    found = go(
        PRD.replace("# Product requirements: levels", "# Requirements of the new tool").replace(
            "as CSV", "as a table"
        )
    )
    assert [finding.code for finding in found.findings] == ["sections_left_out"]
    now = items(connection)
    assert now[first][0] is Status.DONE, "its words are the same"
    assert now["The user exports the levels as a table"][0] is Status.READY
    assert len(now) == 3
    assert now["Requirements of the new tool"][0] is Status.PENDING


def test_a_part_that_a_person_rejected_stays_so(database: Database, connection: Connection, run: Run) -> None:
    run(BOARD)
    (item,) = one(connection, "select item_id from item_source where title = %s", PARTS[2])
    connection.execute("update item set status = 3, ready = false where id = %s", [item])
    (review,) = one(
        connection,
        "insert into review (subject, kind, item_id, title, reason, error_type)"
        " values ('item:x', 'item', %s, 't', 'r', 'no_evidence') returning id",
        item,
    )
    decide_sync(database, review, Decision.REJECT)
    run(BOARD.replace("Describe all of it in the guide", "Describe all of it in the long guide"))
    assert items(connection)[PARTS[2]][0] is Status.CANCELLED


def test_examples_are_left_as_they_are(connection: Connection, recipes: Recipes) -> None:
    """Ordinary boards: nothing of them is split by default."""
    folder = Path(__file__).resolve().parents[2] / "examples"
    for path in sorted(folder.rglob("*.md")):
        board = sources.parse(path.read_bytes(), path.name)
        delta = ingest_board(connection, board, source=str(path))
        found = decompose_board(connection, delta.board_id, recipes)
        assert (found.split, found.plans) == (0, 0), path
