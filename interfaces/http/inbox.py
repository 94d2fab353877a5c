"""What came in: bodies read under a cap, names made safe, paths kept inside the allowed folders."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

import sources
from interfaces.http.errors import Refusal

__all__ = ["allowed_path", "board_path", "read_body", "safe_name", "store", "store_upload"]

BODY_SECONDS = 60.0
LONGEST_NAME = 120  # bytes
POLITE = 8 * 1024 * 1024  # read and thrown away, so that a client that sent a little too much can read why
OVERHEAD = 64 * 1024  # of a multipart body around its one file


def too_large(cap: int, close: bool = False) -> Refusal:
    return Refusal(
        413, "too_large", f"The body is larger than the {cap} bytes that are taken here.", close=close
    )


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """A client that sends slowly, or goes away, is refused and holds nothing."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            yield
    except TimeoutError:
        raise Refusal(
            408, "too_slow", f"The body did not arrive within {BODY_SECONDS:.0f} s.", close=True
        ) from None
    except ClientDisconnect:
        raise Refusal(400, "incomplete", "The connection ended before the body did.") from None


class OverCap(MultiPartException):
    """Of this type, so that the form parser closes its temporary files. `close`: much more would have come."""

    def __init__(self, close: bool) -> None:
        super().__init__("too large")
        self.close = close


async def limited(request: Request, cap: int) -> AsyncGenerator[bytes, None]:
    """The body in pieces, never more than `cap` bytes. Raises OverCap when there is more."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > cap + POLITE:
        raise OverCap(close=True)
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > cap + POLITE:
            raise OverCap(close=True)
        if size <= cap:
            yield piece
    if size > cap:
        raise OverCap(close=False)


async def read_body(request: Request, cap: int) -> bytes:
    """The whole body, at most `cap` bytes. Raises Refusal 413, 408 or 400."""
    try:
        async with in_time():
            return b"".join([piece async for piece in limited(request, cap)])
    except OverCap as over:
        raise too_large(cap, over.close) from None


def safe_name(given: str) -> str:
    """A file name of letters, digits, '.', '-', '_' and spaces, `.md` where it has no ending.

    The same name is the same board. Raises Refusal 400 for anything that is a path or no name: it is not guessed.
    """
    name = unicodedata.normalize("NFC", given).strip()
    usable = re.fullmatch(r"[\w][\w .\-]*", name) and ".." not in name and not name.endswith((".", " "))
    if not usable or len(name.encode()) > LONGEST_NAME:
        raise Refusal(
            400,
            "bad_name",
            f"{given[:80]!r} is no name for a board: use letters, digits, '.', '-' and '_', "
            f"at most {LONGEST_NAME} bytes, no path.",
        )
    return name if Path(name).suffix else f"{name}.md"


def allowed_path(given: str, roots: Sequence[Path], closed: Path | None = None) -> Path:
    """An existing file or folder inside one of the folders, links followed. Raises Refusal 400 or 404.

    What is hidden there (.git, .ssh, .env), and what is inside `closed`, is not there: keys are no boards.
    """
    if "\0" in given or not given.strip() or len(given.encode()) > 4096:
        raise Refusal(400, "bad_path", "`board` is no path.")
    for root in roots:
        inside = root.resolve()
        # A path from outside says nothing of what is there: not even whether it exists.
        found = Path(os.path.realpath(inside / given))
        if not found.is_relative_to(inside) or (
            closed is not None and found.is_relative_to(closed.resolve())
        ):
            continue
        hidden = any(part.startswith(".") for part in found.relative_to(inside).parts)
        if not hidden and os.path.exists(found):  # False, too, for a name that is too long
            return found
    raise Refusal(
        404,
        "no_such_board",
        f"There is no {given[:200]!r} in the folders that this door may read (PENSTOCK_SOURCES). "
        "Send the board's content as `text`, or add its folder.",
    )


def board_path(inbox: Path, name: str) -> Path:
    return inbox / safe_name(name)


def store(path: Path, content: bytes) -> None:
    """Write it whole or not at all, durably, readable by this user alone."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".incoming.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


async def store_upload(request: Request, inbox: Path, cap: int) -> Path:
    """The board of a request, raw (`?name=plan.md`) or as the one file of a multipart form, stored in the inbox.

    Raises Refusal, and SourceError for what is no text.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        path = board_path(inbox, request.query_params.get("name", ""))
        content = await read_body(request, cap)
    else:
        try:
            # The parser spools to a temporary file; what it is fed is counted before.
            parser = MultiPartParser(
                request.headers, limited(request, cap + OVERHEAD), max_files=1, max_fields=4
            )
            async with in_time():
                form = await parser.parse()
        except OverCap as over:
            raise too_large(cap, over.close) from None
        except MultiPartException as error:
            raise Refusal(400, "bad_form", f"The form can't be read: {error.message}.") from None
        try:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            if len(files) != 1:
                raise Refusal(400, "no_file", f"The form has {len(files)} files; send one.")
            path = board_path(inbox, request.query_params.get("name") or files[0].filename or "")
            content = await files[0].read(cap + 1)
        finally:
            await form.close()
    if len(content) > cap:
        raise too_large(cap)
    if not content:
        raise Refusal(400, "empty", "The board is empty.")
    await asyncio.to_thread(
        sources.decode, content, path.name, cap
    )  # what is no text is said now, not by a run
    await asyncio.to_thread(store, path, content)
    return path
