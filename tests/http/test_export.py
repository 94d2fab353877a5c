"""GET /export: a download with the same rows, for who has the token."""

from __future__ import annotations

import io

import orjson
import pyarrow.parquet
import pytest

import sources
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
