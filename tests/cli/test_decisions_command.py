"""`penstock decisions`: the list, one of them, Markdown, JSON; and the item that it is of."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import orjson
import pytest

from models.council import Decided, Seat
from models.recipe import Risk
from models.settings import Settings
from tasks.council.records import keep
from tasks.recipes import load_recipes

DECIDED = Decided(
    "The door stays on port 4270, because a move costs a day.",
    ["A move costs a day."],
    [{"risk": "another service takes the port", "level": "medium"}],
    Risk.MEDIUM,
    0.6,
    0.9,
    0.667,
    [
        Seat("builder", 11, 21, "qwen3:8b", "ab", "supports", "keep it", 0.9, None),
        Seat(
            "sceptic",
            12,
            22,
            "qwen3:8b",
            "cd",
            "dissents",
            "it is taken on [red]two[/] machines",
            0.8,
            "medium",
        ),
        Seat("steward", 13, None, "", "", None, "", None, None, "the answer was empty"),
    ],
    [{"cite": "item:11", "quote": "keep it"}],
)


@pytest.fixture
def numbers(penstock: Any) -> tuple[int, int]:
    """An item with an accepted decision, before which another was taken: the item's and the decision's number."""
    database = penstock.database
    with database.connect(autocommit=True) as connection:
        board = connection.execute(
            "insert into board (source, dialect, encoding, sha256) values (%s, 'gfm', 'utf-8', 'x') returning id",
            [f"/decisions-{uuid.uuid4()}.md"],
        ).fetchone()[0]
        item = connection.execute(
            "insert into item (board_id, key, position, status, recipe)"
            " values (%s, gen_random_uuid(), 1, 4, 'council') returning id",
            [board],
        ).fetchone()[0]
        connection.execute(
            "insert into item_source (item_id, ext_id, kind, title, line, declared, content_hash)"
            " values (%s, 'A-7', 'consult', 'which port takes the [b]door[/]?', 3, 'todo', '')",
            [item],
        )

    async def decide() -> None:
        async with await database.aconnect(autocommit=True) as connection:
            await connection.execute("update result set superseded_at = now() where item_id = %s", [item])
            await connection.execute(
                "insert into result (item_id, text, accepted_by) values (%s, 'x', 'checks')", [item]
            )
            await keep(connection, load_recipes(Settings())["council"], {item: DECIDED})

    asyncio.run(decide())
    asyncio.run(decide())
    with database.connect() as connection:
        last = connection.execute(
            "select max(id) from decision_record where item_id = %s", [item]
        ).fetchone()[0]
    return int(item), int(last)


def test_decisions_are_listed_shown_and_written(penstock: Any, numbers: tuple[int, int]) -> None:
    item, number = numbers
    listed = penstock("decisions", env={"COLUMNS": "110"})
    assert listed.code == 0
    assert "A-7 which port takes the [b]door[/]?" in listed.out
    assert "0.60" in listed.out
    assert "superseded" not in listed.out
    assert "superseded" in penstock("decisions", "list", "--all").out
    shown = penstock("decisions", "show", str(number), env={"COLUMNS": "110"}).out
    assert (
        "sceptic (qwen3:8b) dissents, 0.80 sure, sees a medium risk: it is taken on [red]two[/] machines"
        in " ".join(shown.split())
    )
    markdown = penstock("decisions", "show", str(number), "--md").out
    assert markdown.startswith("# A-7 which port takes the [b]door[/]?\n\n- Status: accepted by the checks\n")
    assert "## Missing\n\n- steward: the answer was empty\n" in markdown
    told = orjson.loads(penstock("decisions", "show", str(number), "--json").out)
    assert (told["status"], told["confidence"], told["item_id"]) == ("accepted", pytest.approx(0.6), item)
    assert [seat["name"] for seat in told["dissent"]] == ["sceptic"]
    every = orjson.loads(penstock("decisions", "list", "--all", "--json").out)
    assert [each["status"] for each in every if each["item_id"] == item] == ["accepted", "superseded"]


def test_an_item_shows_its_decisions(penstock: Any, numbers: tuple[int, int]) -> None:
    item, number = numbers
    out = " ".join(penstock("items", "show", str(item), env={"COLUMNS": "110"}).out.split())
    assert (
        f"{number} accepted: 0.60 sure, risk medium, sceptic dissents, steward did not answer"
        f" penstock decisions show {number}" in out
    )


def test_one_that_is_not_there_is_a_sentence(penstock: Any) -> None:
    outcome = penstock("decisions", "show", "999999")
    assert outcome.code == 2
    assert outcome.complaints == [
        "penstock: There is no decision 999999. `penstock decisions list` shows them."
    ]
    assert penstock("decisions", "show", "1", "--md", "--json").code == 2
