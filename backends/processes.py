"""Running a program for one answer: no shell, a process group of its own, limits of time and of output.

When the time is up, the output too long or the caller gone, the whole group is killed: an agent's helpers must not go
on working for nobody. Also when it ends by itself: what it left behind in its group is ended with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

TERM_SECONDS = 2.0
"""How long a group may take to end after SIGTERM; then SIGKILL."""

TAIL_BYTES = 8192
"""Of standard error: the end is where programs say what went wrong."""

CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Ended:
    code: int  # negative: the signal that ended it
    tail: str  # of standard error


class TooMuch(Exception):
    """It wrote more than it may."""


async def run(
    command: Sequence[str],
    *,
    given: bytes,
    environment: Mapping[str, str],
    folder: Path,
    most: int,
    hear: Callable[[bytes], None],
) -> Ended:
    """Run to its end, its standard output given to `hear` as it comes. Cancelling it kills the group.

    Raises OSError where it can't be started and TooMuch after `most` bytes of output. What `hear` raises ends it.
    """
    with (
        tempfile.TemporaryFile() as stdin
    ):  # a file, not a pipe: nothing can block on a program that reads late
        stdin.write(given)
        stdin.seek(0)
        # Pipes of our own: a helper that keeps one open must not keep the program's end from us.
        async with _pipe() as (out_reader, out), _pipe() as (err_reader, err):
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=stdin,
                stdout=out,
                stderr=err,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
            out.close()
            err.close()
            reading = asyncio.ensure_future(_hear(out_reader, hear, most))
            tail = asyncio.ensure_future(_tail(err_reader))
            ended = asyncio.ensure_future(process.wait())
            try:
                try:
                    await asyncio.wait({ended, reading}, return_when=asyncio.FIRST_COMPLETED)
                    if reading.done():
                        reading.result()  # raises what it met
                    await ended
                finally:
                    await _end(process)
                await reading  # nobody holds the pipes any more
                said = await tail
            finally:
                for task in (reading, tail, ended):
                    task.cancel()
                await asyncio.gather(reading, tail, ended, return_exceptions=True)
    assert process.returncode is not None
    return Ended(process.returncode, said.decode("utf-8", "replace"))


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, IO[bytes]]]:
    """A reader, and the end that the program writes to."""
    end, start = os.pipe()
    with os.fdopen(start, "wb", 0) as writes:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(end, "rb", 0)
        )
        try:
            yield reader, writes
        finally:
            transport.close()


async def _hear(reader: asyncio.StreamReader, hear: Callable[[bytes], None], most: int) -> None:
    size = 0
    while chunk := await reader.read(CHUNK):
        size += len(chunk)
        if size > most:
            raise TooMuch
        hear(chunk)


async def _tail(reader: asyncio.StreamReader) -> bytes:
    tail = b""
    while chunk := await reader.read(CHUNK):
        tail = (tail + chunk)[-TAIL_BYTES:]
    return tail


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing of it is left when this returns."""
    left: list[psutil.Process] = []
    try:
        if process.returncode is None:
            left = _descendants(process.pid)
            _signal(process.pid, signal.SIGTERM)
            for each in left:
                with contextlib.suppress(psutil.Error):
                    each.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), TERM_SECONDS)
    finally:
        _signal(process.pid, signal.SIGKILL)
        for each in left:
            with contextlib.suppress(psutil.Error):
                each.kill()
    await process.wait()


def _descendants(pid: int) -> list[psutil.Process]:
    """Its children of any depth: one that made a session of its own is not in the group."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
