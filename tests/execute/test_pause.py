"""What is paused is told to drains; quiet hours are right at midnight and when clocks change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.endpoint import Endpoint
from models.errors import InputError
from models.pause import Paused, PauseKind
from sql.connection import Database
from tasks.pause import duration, listed, pause, paused, quiet, resume

RESOURCE = "ollama http://gpu:11434"


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    opened = await database.aconnect(autocommit=True)
    yield opened
    await opened.close()


async def asked(connection: psycopg.AsyncConnection) -> Paused:
    return await paused(connection, resource=RESOURCE, backend="ollama", device="gpu")


async def board(connection: psycopg.AsyncConnection, source: str) -> int:
    cursor = await connection.execute(
        "insert into board (source, dialect, encoding, sha256) values (%s, 'gfm', 'utf-8', '') returning id",
        [source],
    )
    row = await cursor.fetchone()
    assert row
    return int(row[0])


async def test_nothing_is_paused_at_first(connection: psycopg.AsyncConnection) -> None:
    assert await asked(connection) == Paused()
    assert await listed(connection) == []


async def test_each_kind_is_told_as_what_it_is(connection: psycopg.AsyncConnection) -> None:
    number = await board(connection, "/plans/a.md")
    await board(connection, "/plans/b.md")
    for kind, name in [
        (PauseKind.BOARD, "/plans/a.md"),
        (PauseKind.BOARD, "/plans/gone.md"),
        (PauseKind.MODEL, "qwen3:8b"),
        (PauseKind.RECIPE, "split"),
        (PauseKind.RECIPE, "task a model with blanks"),
        (PauseKind.ENDPOINT, "ollama http://other:11434"),
        (PauseKind.BACKEND, "openai"),
        (PauseKind.DEVICE, "other"),
    ]:
        await pause(connection, kind, name)
    found = await asked(connection)
    assert found == Paused(
        boards=frozenset({number}),
        models=frozenset({"qwen3:8b"}),
        recipes=frozenset({"split"}),
        recipe_models=frozenset({("task", "a model with blanks")}),
    )
    assert found.stops("split", "x")
    assert found.stops("task", "qwen3:8b")
    assert found.stops("task", "a model with blanks")
    assert not found.stops("task", "x")


@pytest.mark.parametrize(
    ("kind", "name"),
    [(PauseKind.ENDPOINT, RESOURCE), (PauseKind.BACKEND, "ollama"), (PauseKind.DEVICE, "gpu")],
)
async def test_what_stops_the_whole_endpoint_is_a_sentence(
    connection: psycopg.AsyncConnection, kind: PauseKind, name: str
) -> None:
    until = datetime(2999, 1, 2, 3, 4, tzinfo=UTC)
    await pause(connection, kind, name, until=until, reason="it is too hot", by="ana")
    found = await asked(connection)
    assert (
        found.whole
        == f"The {kind} {name} is paused until {until.astimezone():%Y-%m-%d %H:%M} (ana): it is too hot."
    )
    assert found.until == until
    await pause(connection, PauseKind.BACKEND, "ollama", seconds=None)
    assert (await asked(connection)).until is None
    assert await resume(connection, PauseKind.BACKEND, "ollama")


async def test_a_pause_ends_by_itself_and_goes_when_somebody_looks(
    connection: psycopg.AsyncConnection,
) -> None:
    await pause(connection, PauseKind.MODEL, "a", seconds=0)
    await pause(connection, PauseKind.MODEL, "b", until=datetime(2020, 1, 1, tzinfo=UTC))
    assert await asked(connection) == Paused()
    await pause(connection, PauseKind.MODEL, "c", seconds=3600, reason="why", by="ana")
    (left,) = await listed(connection)
    assert (left.kind, left.name, left.reason, left.by) == (PauseKind.MODEL, "c", "why", "ana")
    assert left.until is not None
    assert left.until - left.at == timedelta(hours=1)
    cursor = await connection.execute("select name from pause")
    assert await cursor.fetchall() == [("c",)]


async def test_pausing_again_changes_time_and_reason_and_resuming_ends_it(
    connection: psycopg.AsyncConnection,
) -> None:
    await pause(connection, PauseKind.MODEL, "a", seconds=60, reason="one")
    again = await pause(connection, PauseKind.MODEL, "a", reason="two")
    assert (again.until, again.reason) == (None, "two")
    assert not await resume(connection, PauseKind.RECIPE, "a")
    assert await resume(connection, PauseKind.MODEL, "a")
    assert not await resume(connection, PauseKind.MODEL, "a")
    await pause(connection, PauseKind.MODEL, "a", seconds=0)
    assert not await resume(connection, PauseKind.MODEL, "a"), "it had ended"


async def test_it_works_within_a_transaction_and_is_undone_with_it(
    connection: psycopg.AsyncConnection,
) -> None:
    async with connection.transaction():
        await pause(connection, PauseKind.MODEL, "a", reason="\0")
        assert await resume(connection, PauseKind.MODEL, "a")
        await pause(connection, PauseKind.MODEL, "a")
        raise psycopg.Rollback
    assert await listed(connection) == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("1d 12h", 129600), ("45s", 45), ("1H", 3600)],
)
def test_lengths_of_time_are_read(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "-1h", "0s", "1m1h", "soon", "99999d"])
def test_what_is_no_length_of_time_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="day"):
        duration(text)


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
MINUTES = st.integers(0, 24 * 60 - 1)


def inside(hours: str, wall: time) -> bool:
    begin, end = map(time.fromisoformat, hours.split("-"))
    if begin < end:
        return begin <= wall < end
    return wall >= begin or wall < end


def clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


@given(
    st.sampled_from(ZONES),
    st.tuples(MINUTES, MINUTES).filter(lambda pair: pair[0] != pair[1]),
    st.integers(978307200, 2082758400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
)
@example(
    "Europe/Berlin", (120, 180), datetime(2026, 3, 29, 0, 59, 59, 500000, tzinfo=UTC)
)  # these hours do not come
@example("Europe/Berlin", (90, 150), datetime(2026, 3, 29, 0, 45, tzinfo=UTC))  # their end does not come
@example("Europe/Berlin", (150, 300), datetime(2026, 10, 25, 0, 40, tzinfo=UTC))  # they begin twice
@example("Europe/Berlin", (60, 150), datetime(2026, 10, 25, 0, 10, tzinfo=UTC))  # they end twice
@example("Pacific/Apia", (1320, 1319), datetime(2011, 12, 30, 9, 0, tzinfo=UTC))  # a day does not come
@example("America/New_York", (1320, 420), datetime(2026, 11, 1, 3, 30, tzinfo=UTC))
def test_quiet_hours_are_those_of_the_clock_on_the_wall(
    zone: str, pair: tuple[int, int], now: datetime
) -> None:
    hours = f"{clock(pair[0])}-{clock(pair[1])}"
    place = ZoneInfo(zone)

    def still(at: datetime) -> bool:
        return inside(hours, at.astimezone(place).time())

    left = quiet(hours, zone, now)
    if not still(now):
        assert left == 0
        return
    assert left > 0
    end = now + timedelta(seconds=left)
    assert not still(end)
    assert still(end - timedelta(microseconds=1))
    whole = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while whole < end:  # every change of clocks is at a whole minute
        assert still(whole)
        whole += timedelta(minutes=1)
    assert quiet(hours, zone, now.astimezone(place)) == left


def test_without_quiet_hours_it_is_never_quiet() -> None:
    assert quiet(None, "UTC", datetime.now(UTC)) == 0


@pytest.mark.parametrize(
    "hours", ["25:00-07:00", "22:00-24:00", "08:00-08:00", "22-7", "22:00", "22:00-07:60"]
)
def test_quiet_hours_that_can_not_be_are_refused(hours: str) -> None:
    with pytest.raises(ValidationError):
        Endpoint(backend="ollama", url="http://gpu:11434", quiet=hours)
