"""Decisions while other things happen to the same items."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from models.enums import Decision, Status
from models.errors import InputError
from sql.connection import Database
from tasks.review import decide

WAITS = (
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
)


async def waiting_item(connection: psycopg.AsyncConnection[Any]) -> tuple[int, int]:
    """One item that waits for a person, and its review."""
    cursor = await connection.execute(
        "with b as (insert into board (source, dialect, encoding, sha256)"
        "  values ('/b', 'gfm', 'utf-8', '') returning id),"
        " i as (insert into item (board_id, key, position, status, recipe)"
        "  select id, gen_random_uuid(), 1, 3, 'task' from b returning id),"
        " s as (insert into item_source (item_id, kind, title, line, declared, content_hash)"
        "  select id, 'task', 'one', 1, 'todo', '' from i)"
        " insert into review (subject, kind, item_id, title, reason, error_type, proposal)"
        " select 'item:' || id, 'item', id, 'one', 'why', 'rule', 'the answer' from i returning item_id, id"
    )
    row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]


async def test_a_decision_and_an_ingest_never_wait_for_each_other(database: Database) -> None:
    """An ingest that edits the item has its row and then wants its review; the decision wants both too."""
    async with (
        await database.aconnect(autocommit=True) as looker,
        await database.aconnect(autocommit=True) as person,
        await database.aconnect() as ingest,
    ):
        item, review = await waiting_item(looker)
        await ingest.execute("select from item where id = %s for no key update", [item])
        deciding = asyncio.create_task(decide(person, review, Decision.ACCEPT, by="me"))
        async with asyncio.timeout(20):
            while (await (await looker.execute(WAITS)).fetchone()) != (1,):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await ingest.execute("update item set status = 0 where id = %s", [item])
        await ingest.execute(
            "update review set decided_at = now(), decision = 'superseded', decided_by = 'penstock' where id = %s",
            [review],
        )
        await ingest.commit()
        with pytest.raises(InputError, match="was decided before: superseded by penstock"):
            await deciding
        cursor = await looker.execute("select status from item where id = %s", [item])
        assert await cursor.fetchone() == (int(Status.PENDING),)


async def test_text_that_the_database_cannot_hold(database: Database) -> None:
    """JSON at the door and arguments of a shell can bring both."""
    async with await database.aconnect(autocommit=True) as connection:
        item, review = await waiting_item(connection)
        await decide(connection, review, Decision.EDIT, text="a\0b \ud800", note="\udcff", by="me\0")
        cursor = await connection.execute("select text from result where item_id = %s", [item])
        assert await cursor.fetchone() == ("a\ufffdb \ufffd",)
