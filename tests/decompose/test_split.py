"""A model's split becomes parts of the item, or a question to a person."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from models.enums import Status
from sql.connection import Database
from tasks.decompose import apply_split, split_problem

Connection = psycopg.AsyncConnection[Any]


def split(*titles: str) -> dict[str, Any]:
    return {"subtasks": [{"title": title, "acceptance": [f"{title} works", "  "]} for title in titles]}


async def one(connection: Connection, query: str, *values: Any) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = await (await connection.execute(query.encode(), values)).fetchone()
    assert row is not None
    return row


async def settled_item(connection: Connection, *, needs: bool = False) -> int:
    """An item whose answer, a split, was accepted just now, below a container and before another item."""
    board = await one(
        connection,
        "insert into board (source, dialect, encoding, sha256) values ('/b', 'gfm', 'utf-8', '') returning id",
    )
    ids: list[int] = []
    for position, (title, status, recipe) in enumerate(
        [("epic", 0, None), ("big", 4, "split"), ("after", 0, "task"), ("before", 7, None)]
    ):
        row = await one(
            connection,
            "with i as (insert into item (board_id, parent_id, key, position, status, recipe, priority)"
            " values (%s, %s, gen_random_uuid(), %s, %s, %s, 1) returning id)"
            " insert into item_source (item_id, kind, title, line, declared, content_hash)"
            " select id, 'task', %s, %s, 'todo', '' from i returning item_id",
            board[0],
            ids[0] if title == "big" else None,
            position,
            status,
            recipe,
            title,
            position + 1,
        )
        ids.append(row[0])
    await connection.execute("insert into need values (%s, %s)", [ids[2], ids[0]])
    if needs:
        await connection.execute("insert into need values (%s, %s)", [ids[1], ids[3]])
    await connection.execute(
        "insert into result (item_id, text, data, accepted_by) values (%s, 'split', '{\"n\": 1}', 'checks')",
        [ids[1]],
    )
    return int(ids[1])


async def statuses(connection: Connection) -> dict[str, Status]:
    cursor = await connection.execute("select title, status from item join item_source on item_id = id")
    return {title: Status(status) for title, status in await cursor.fetchall()}


async def test_parts_are_ready_and_the_item_waits_for_them(database: Database) -> None:
    async with await database.aconnect() as connection:
        item = await settled_item(connection, needs=True)
        assert await apply_split(connection, item, split("one", "two")) == 2
        assert (await one(connection, "select penstock_advance(array[%s]::bigint[])", item)) == (0,)
        assert await statuses(connection) == {
            "epic": Status.PENDING,
            "big": Status.PENDING,
            "after": Status.PENDING,
            "before": Status.SKIPPED,
            "one": Status.READY,
            "two": Status.READY,
        }
        row = await one(
            connection,
            "select s.body, s.line, s.depth, s.origin, i.recipe, i.priority, i.position, i.ready"
            " from item i join item_source s on s.item_id = i.id where s.title = 'one'",
        )
        assert row == ("Acceptance criteria:\n- one works", 2, 1, "split", "task", 1, 1, True)
        assert await one(connection, "select recipe from item where id = %s", item) == (None,)
        assert await one(
            connection, "select count(*) from need join item_source using (item_id) where origin = 'split'"
        ) == (2,)

        await connection.execute(
            "update item set status = 4, ready = false from item_source where item_id = id and origin = 'split'"
        )
        await connection.execute(
            "select penstock_advance(array_agg(item_id)) from item_source where origin = 'split'"
        )
        end = await statuses(connection)
        assert (end["big"], end["epic"], end["after"]) == (Status.DONE, Status.DONE, Status.READY)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "no subtasks"),
        ({"subtasks": []}, "no subtasks"),
        ({"subtasks": "one"}, "no subtasks"),
        ({"subtasks": ["one"]}, "Subtask 1 has no title"),
        ({"subtasks": [{"title": " ", "acceptance": ["x"]}]}, "Subtask 1 has no title"),
        ({"subtasks": [{"title": "one", "acceptance": []}]}, "no acceptance criteria"),
        ({"subtasks": [{"title": "one", "acceptance": [" "]}]}, "no acceptance criteria"),
        ({"subtasks": [{"title": "one"}]}, "no acceptance criteria"),
        (split("one", " One "), "twice"),
        (split(*map(str, range(51))), "51 subtasks"),
    ],
)
async def test_split_that_cannot_be_used_goes_to_a_person(
    database: Database, data: dict[str, Any], words: str
) -> None:
    problem = split_problem(data)
    assert problem is not None
    assert words in problem
    async with await database.aconnect() as connection:
        item = await settled_item(connection)
        assert await apply_split(connection, item, data) == 0
        assert (await statuses(connection))["big"] is Status.WAITING
        row = await one(connection, "select item_id, reason, proposal, details -> 'data' from review")
        assert row == (item, problem, "split", {"n": 1})
        assert await one(connection, "select count(*) from result where superseded_at is null") == (0,)


async def test_item_is_not_split_into_itself(database: Database) -> None:
    async with await database.aconnect() as connection:
        item = await settled_item(connection)
        assert await apply_split(connection, item, split("BIG")) == 0
        assert (await statuses(connection))["big"] is Status.WAITING


async def test_parts_of_parts_have_an_end(database: Database) -> None:
    async with await database.aconnect() as connection:
        item = await settled_item(connection)
        for level in range(3):
            assert await apply_split(connection, item, split(f"part {level}", f"rest {level}")) == 2
            item = (
                await one(connection, "select item_id from item_source where title = %s", f"part {level}")
            )[0]
            await connection.execute("update item set status = 4, ready = false where id = %s", [item])
            await connection.execute(
                "insert into result (item_id, text, accepted_by) values (%s, 'again', 'checks')", [item]
            )
        assert await apply_split(connection, item, split("too", "deep")) == 0
        assert (await statuses(connection))["part 2"] is Status.WAITING


async def test_split_of_an_item_that_changed_meanwhile_does_nothing(database: Database) -> None:
    async with await database.aconnect() as connection:
        item = await settled_item(connection)
        await connection.execute("update item set status = 0 where id = %s", [item])
        assert await apply_split(connection, item, split("one")) == 0
        assert await apply_split(connection, 10_000, split("one")) == 0
        assert await one(connection, "select count(*) from item") == (4,)
        assert await one(connection, "select count(*) from review") == (0,)


async def test_split_again_after_a_change_takes_the_parts_back_up(database: Database) -> None:
    async with await database.aconnect() as connection:
        item = await settled_item(connection)
        await apply_split(connection, item, split("one", "two"))
        before = await one(connection, "select item_id from item_source where title = 'one'")
        await connection.execute(
            "update item set parent_id = null, status = 6, ready = false from item_source"
            " where item_id = id and origin = 'split'"
        )
        await connection.execute("update item_source set removed_at = now() where origin = 'split'")
        await connection.execute("update item set status = 4, recipe = 'split' where id = %s", [item])
        assert await apply_split(connection, item, split("one", "three")) == 2
        row = await one(
            connection,
            "select item_id, removed_at, status, parent_id from item_source join item on id = item_id"
            " where title = 'one'",
        )
        assert row == (before[0], None, Status.READY, item)
        assert (await statuses(connection))["two"] is Status.CANCELLED
