"""The states of runs: which word counts, and what becomes of a run whose process is gone."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from models.errors import InputError, RunStopped
from models.run import RunState, Stage, Wish
from sql.connection import Database
from tasks import runs
from tasks.execute import holder

Connection = psycopg.AsyncConnection[Any]


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    opened = await database.aconnect(autocommit=True)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def dead() -> str:
    """The name of a process of this machine that is no more."""
    asked = [sys.executable, "-c", "from tasks.execute import holder; print(holder.this_process())"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


async def sign(connection: Connection, flow_run: str, name: str | None = None) -> None:
    await connection.execute(
        "insert into process (flow_run_id, holder) values (%s, %s)"
        " on conflict (flow_run_id) do update set holder = excluded.holder",
        [flow_run, name or holder.this_process()],
    )


async def board(connection: Connection, source: str) -> int:
    cursor = await connection.execute(
        "insert into board (source, dialect, encoding, sha256) values (%s, 'gfm', 'utf-8', 'x') returning id",
        [source],
    )
    row = await cursor.fetchone()
    assert row
    return int(row[0])


async def begun(
    connection: Connection, *boards: int, run: uuid.UUID | None = None, flow_run: str = ""
) -> uuid.UUID:
    run = run or uuid.uuid4()
    flow_run = flow_run or str(uuid.uuid4())
    await sign(connection, flow_run)
    await runs.begin(
        connection, run, flow_run_id=flow_run, params={"board": ["a.md"]}, stage=Stage.EXECUTE, boards=boards
    )
    return run


async def state(connection: Connection, run: uuid.UUID) -> str:
    row = await (await connection.execute("select state from run where id = %s", [run])).fetchone()
    assert row
    return str(row[0])


async def resting(connection: Connection) -> set[int]:
    return {
        row[0]
        for row in await (
            await connection.execute("select id from board where held_by is not null")
        ).fetchall()
    }


async def test_a_wish_is_obeyed_by_the_process_and_ends_in_its_state(connection: Connection) -> None:
    number = await board(connection, "/a.md")
    run = await begun(connection, number)
    assert await runs.wished(connection, run) is None
    assert not (await runs.want(connection, run, Wish.PAUSE, by="ana")).at_once
    assert await runs.wished(connection, run) == (Wish.PAUSE, "ana")
    assert await resting(connection) == {number}
    await runs.want(connection, run, Wish.CANCEL, by="ben")
    await runs.want(connection, run, Wish.PAUSE, by="ana")
    assert await runs.wished(connection, run) == (Wish.CANCEL, "ana"), "not taken back by a pause"
    await runs.finish(connection, run, RunState.CANCELLED)
    assert await state(connection, run) == "cancelled"
    await runs.finish(connection, run, RunState.FAILED, "too late")
    assert await state(connection, run) == "cancelled"
    assert await resting(connection) == {number}
    await begun(connection, number, run=run)
    assert await resting(connection) == set()
    await runs.finish(connection, run, RunState.SETTLED)
    with pytest.raises(InputError, match=r"has ended \(settled\)"):
        await runs.want(connection, run, Wish.CANCEL, by="ana")


async def test_a_run_that_ended_before_it_heard_lets_go_of_its_boards(connection: Connection) -> None:
    number = await board(connection, "/a.md")
    run = await begun(connection, number)
    await runs.want(connection, run, Wish.PAUSE, by="ana")
    await runs.finish(connection, run, RunState.SETTLED)
    assert await resting(connection) == set()


@pytest.mark.parametrize(
    ("wish", "is_now"), [(None, "interrupted"), (Wish.PAUSE, "paused"), (Wish.CANCEL, "cancelled")]
)
async def test_a_process_that_died_leaves_a_true_state(
    connection: Connection, database: Database, dead: str, wish: Wish | None, is_now: str
) -> None:
    flow_run = str(uuid.uuid4())
    run = await begun(connection, flow_run=flow_run)
    alive = await begun(connection)
    if wish is not None:
        await runs.want(connection, run, wish, by="ana")
    await sign(connection, flow_run, dead)
    with database.connect() as reading:
        assert runs.one(reading, str(run)).state == is_now, "at reading already"
        assert runs.one(reading, str(alive)).state == "running"
    assert await state(connection, run) == "running", "reading writes nothing"
    assert await runs.interrupt(connection) == [(run, is_now)]
    assert await state(connection, run) == is_now
    assert await state(connection, alive) == "running"
    assert await runs.interrupt(connection) == []


async def test_who_stopped_it_has_the_last_word_on_a_process_that_is_gone(
    connection: Connection, dead: str
) -> None:
    number = await board(connection, "/a.md")
    run = await begun(connection, number, flow_run="a")
    await sign(connection, "a", dead)
    await runs.interrupt(connection)
    assert await runs.stopped_here(connection, run, by="the Prefect UI")
    assert await state(connection, run) == "cancelled"
    assert await resting(connection) == {number}
    assert not await runs.stopped_here(connection, run, by="the Prefect UI")


async def test_only_one_process_does_a_run(connection: Connection, dead: str) -> None:
    run = await begun(connection, flow_run="a")
    with pytest.raises(InputError, match="under way already"):
        await begun(connection, run=run, flow_run="b")
    await sign(connection, "a", dead)
    await begun(connection, run=run, flow_run="b")
    assert await state(connection, run) == "running"


async def test_prefect_does_not_start_again_what_a_person_stopped(connection: Connection, dead: str) -> None:
    run = await begun(connection, flow_run="a")
    await runs.want(connection, run, Wish.PAUSE, by="ana")
    await begun(connection, run=run, flow_run="a")  # before anybody saw that its process had died
    assert await runs.wished(connection, run) == (Wish.PAUSE, "ana")
    await sign(connection, "a", dead)
    await runs.interrupt(connection)
    with pytest.raises(RunStopped, match="paused"):
        await begun(connection, run=run, flow_run="a")
    await begun(connection, run=run, flow_run="b")  # a person resumed it
    assert await runs.wished(connection, run) is None


async def test_a_run_without_a_process_is_stopped_at_once(connection: Connection, dead: str) -> None:
    number = await board(connection, "/a.md")
    run = await begun(connection, number, flow_run="a")
    await sign(connection, "a", dead)
    assert (await runs.want(connection, run, Wish.PAUSE, by="ana")).at_once
    assert await resting(connection) == {number}
    assert (await runs.want(connection, run, Wish.CANCEL, by="ana")).at_once
    with pytest.raises(InputError, match="is cancelled already"):
        await runs.want(connection, run, Wish.CANCEL, by="ana")


async def test_a_run_is_named_by_the_beginning_of_its_id(connection: Connection, database: Database) -> None:
    with database.connect() as reading:
        with pytest.raises(InputError, match="no run yet"):
            runs.one(reading, "last")
        first = await begun(connection, run=uuid.UUID("aaaaaaaa-0000-4000-8000-000000000001"))
        second = await begun(connection, run=uuid.UUID("aaaaaaab-0000-4000-8000-000000000002"))
        reading.rollback()
        assert runs.one(reading, "aaaaaaaa").id == first
        assert runs.one(reading, "LAST").id == second
        with pytest.raises(InputError, match="more than one run"):
            runs.one(reading, "aaaaaa")
        for odd in ("%", "_", "a%", ""):
            with pytest.raises(InputError, match="no run's id"):
                runs.one(reading, odd)
