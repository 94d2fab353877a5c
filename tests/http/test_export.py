"""GET /export: a download with the same rows, for who has the token."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator

import orjson
import pyarrow.parquet
import pytest

import sources
from interfaces.http.exports import _sent
from tasks.ingest import ingest_board

from .conftest import Served

TEXT = "# Plan\n\n" + "".join(f"- [ ] item {number}\n" for number in range(50))


@pytest.fixture
def board(door: Served) -> str:
    with door.database.connect() as connection:
        ingest_board(connection, sources.parse(TEXT.encode(), "plan.md"), source="/plans/plan.md")
    return "plan.md"


async def test_a_board_is_downloaded_in_any_format(door: Served, board: str) -> None:
    refused = await door.client.get("/export", params={"board": board})
    assert refused.status_code == 401
    found = await door.client.get("/export", params={"board": board}, headers=door.token)
    assert found.status_code == 200
    assert found.headers["content-type"] == "application/x-ndjson"
    assert "attachment" in found.headers["content-disposition"]
    titles = [orjson.loads(line)["title"] for line in found.content.splitlines()]
    assert titles == [f"item {number}" for number in range(50)]
    params = {"board": board, "format": "parquet"}
    found = await door.client.get("/export", params=params, headers=door.token)
    table = pyarrow.parquet.read_table(io.BytesIO(found.content))
    assert table.column("title").to_pylist() == titles


@pytest.mark.parametrize(
    ("params", "status", "says"),
    [
        ({"board": "plan.md", "format": "xlsx"}, 400, "none of md, jsonl, csv, parquet"),
        ({"board": "no-such.md"}, 400, "no-such.md"),
    ],
)
async def test_what_it_can_not_give_it_says(
    door: Served, board: str, params: dict[str, str], status: int, says: str
) -> None:
    found = await door.client.get("/export", params=params, headers=door.token)
    assert found.status_code == status, found.text
    assert says in found.json()["error"]["message"]


async def test_who_leaves_in_the_middle_of_a_chunk_leaves_nothing_open() -> None:
    reads, goes_on, closed = threading.Event(), threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        try:
            reads.set()
            assert goes_on.wait(10)
            yield b"late"
        finally:
            closed.set()

    sent = _sent(b"first", slowly())
    assert await anext(sent) == b"first"
    leaving = asyncio.ensure_future(anext(sent))
    assert await asyncio.to_thread(reads.wait, 10)
    leaving.cancel()
    asyncio.get_running_loop().call_later(0.05, goes_on.set)  # it is to be closed while it reads
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await asyncio.to_thread(closed.wait, 10)
