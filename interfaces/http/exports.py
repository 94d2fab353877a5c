"""What came of boards so far, as a download."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from interfaces.http.door import Authorised, Door, TheDoor
from interfaces.http.errors import Refusal
from models.export import Format
from tasks.export import chunks, named, rows

router = APIRouter(dependencies=[Authorised])

TYPES = {
    Format.MD: "text/markdown; charset=utf-8",
    Format.JSONL: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8",
    Format.PARQUET: "application/vnd.apache.parquet",
}


@router.get("/export")
async def export(request: Request, door: TheDoor) -> StreamingResponse:
    """`?board=` (a path, a part of one, or a run's id; may be repeated), `?format=`, `?parts=1`."""
    wanted = request.query_params.get("format", Format.JSONL)
    if wanted not in list(Format):
        raise Refusal(400, "bad_format", f"The format {wanted!r} is none of {', '.join(Format)}.")
    form = Format(wanted)
    encoded = await asyncio.to_thread(
        _begun, door, request.query_params.getlist("board"), form, request.query_params.get("parts") == "1"
    )
    headers = {"Content-Disposition": f'attachment; filename="penstock.{form}"'}
    return StreamingResponse(_sent(*encoded), media_type=TYPES[form], headers=headers)


def _begun(door: Door, words: list[str], form: Format, parts: bool) -> tuple[bytes | None, Iterator[bytes]]:
    """The first chunk before anything is sent: what goes wrong at once is still an answer that says so."""
    with door.database.connect() as connection:
        boards = named(connection, words)
    encoded = chunks(rows(door.database, boards, parts=parts), form)
    return next(encoded, None), encoded


async def _sent(first: bytes | None, rest: Iterator[bytes]) -> AsyncIterator[bytes]:
    reading = threading.Lock()

    def read() -> bytes | None:
        with reading:
            return next(rest, None)

    def close() -> None:
        with reading:  # who left in the middle of a chunk: its thread is still at it
            if (end := getattr(rest, "close", None)) is not None:
                end()

    part = first
    try:
        while part is not None:
            yield part
            part = await asyncio.to_thread(read)
    finally:
        await asyncio.to_thread(close)  # also where nobody reads on: its connection is given back
