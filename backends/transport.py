"""HTTP to one model server: one client, bounded in flight, one deadline per call, errors in our words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from backends.addressing import checked_url, encoded, headers_of, secrets_of
from backends.connections import Connections, Unpacked, body_of
from backends.failures import Words, failure, one_line
from backends.following import Following, Reading, Watch, check_size
from backends.streams import reader_of
from backends.wire import Broken, Connection, ConnectTimeout, Head, Headers, Unreachable
from models.calls import ModelCallError
from models.endpoint import Endpoint
from models.enums import ErrorType, TimeoutKind

SIMULATOR_HEADER = b"x-penstock-simulator"

_KEPT_HEADERS = (
    b"x-request-id",
    b"request-id",
    b"x-ratelimit-",
    b"anthropic-ratelimit-",
    b"retry-after",
    b"llm_provider-retry-after",
)


@dataclass(slots=True)
class Reply:
    """One complete HTTP reply."""

    status: int
    raw_headers: Headers
    body: bytes  # b"" where it was streamed to a Reading
    seconds: float
    streamed: bool = False
    first_seconds: float | None = None

    @property
    def headers(self) -> httpx.Headers:
        return httpx.Headers(list(self.raw_headers))

    @property
    def simulated(self) -> bool:
        return any(name == SIMULATOR_HEADER for name, _ in self.raw_headers)

    def kept_headers(self) -> dict[str, str]:
        """Request ids and rate limits; nothing else, so that no cookie or credential is ever stored."""
        return {
            name.decode("ascii", "replace"): value.decode("latin-1")
            for name, value in self.raw_headers
            if name.startswith(_KEPT_HEADERS)
        }

    def json(self) -> Any:
        """The body as JSON; raises ValueError."""
        return orjson.loads(self.body)


class Transport:
    """The HTTP client of one endpoint. Not more than `endpoint.slots` calls are in flight, whatever callers do."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        key_header: str = "authorization",
        headers: Mapping[str, str] | None = None,
        words: Words | None = None,
    ) -> None:
        self.url = checked_url(endpoint)
        self.words: Words = words or {}
        self._secrets = secrets_of(endpoint)
        self._endpoint = endpoint
        self._headers = headers_of(endpoint, key_header, headers or {})
        self._own: Headers = tuple(self._headers.raw)
        self._connections = Connections(connect_timeout=endpoint.connect_timeout)
        self._slots = asyncio.Semaphore(endpoint.slots)
        self._questions = asyncio.Lock()  # beside the slots: a probe must not wait behind the calls
        self._closed = False

    # --- asking ---------------------------------------------------------------------------------------------

    async def ask(self, path: str, payload: Any, deadline: float, reading: Reading) -> Reply:
        """POST JSON and read a streamed 200 as it comes; any other reply comes back as a whole.

        Raises ModelCallError: TIMEOUT (which wait, is in its `timeout`), CONNECTION, SERVER_ERROR, MALFORMED, and
        what `reading` raises.
        """
        return await self._send("POST", self.url + path, encoded(payload), deadline, reading=reading)

    async def post(self, path: str, payload: Any, deadline: float) -> Reply:
        """POST JSON within a slot and read the whole reply. Any status is returned; raises as `ask`."""
        return await self._send("POST", self.url + path, encoded(payload), deadline)

    async def get(
        self, path: str, deadline: float, *, base: str | None = None, limit: int | None = None
    ) -> Reply:
        """GET, outside the slots: for questions about the server, not for work. `limit`: bytes of a larger reply."""
        return await self._send("GET", (base or self.url) + path, None, deadline, work=False, limit=limit)

    async def question(self, path: str, payload: Any, deadline: float) -> Reply:
        """POST, outside the slots."""
        return await self._send("POST", self.url + path, encoded(payload), deadline, work=False)

    async def send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        deadline: float,
        *,
        content_type: str = "",
        bare: bool = False,
    ) -> Reply:
        """Any request within a slot. `bare`: without the key and the headers of the settings, for another host."""
        headers = (
            httpx.Headers({"User-Agent": "penstock", "Accept-Encoding": "identity"})
            if bare
            else self._headers.copy()
        )
        if content_type:
            headers["Content-Type"] = content_type
        return await self._send(method, url, body, deadline, headers=tuple(headers.raw))

    def failure(self, reply: Reply, asked: str) -> ModelCallError:
        """The error for a reply whose status is not 200. `asked` names the model."""
        return failure(self.url, reply.status, reply.headers, reply.body, asked, words=self.words)

    async def close(self) -> None:
        self._closed = True
        await self._connections.close()

    # --- the exchange ---------------------------------------------------------------------------------------

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        deadline: float,
        *,
        reading: Reading | None = None,
        headers: Headers | None = None,
        work: bool = True,
        limit: int | None = None,
    ) -> Reply:
        if self._closed:
            raise RuntimeError(f"the backend at {self.url} was closed")
        clock = asyncio.get_running_loop().time
        started = clock()
        watch: Watch | None = None
        try:
            if started >= deadline:
                raise TimeoutError
            head = self._connections.head(method, url, self._own if headers is None else headers)
            watch = Watch(deadline)
            async with watch, self._slots if work else self._questions:
                connection = await self._connections.take(head)
                whole = False
                try:
                    reply = await self._exchange(connection, head, body, watch, reading, limit)
                    whole = True
                finally:
                    await self._connections.give(connection, whole=whole)
                return reply
        except TimeoutError:
            raise self._timed_out(watch, max(0.0, deadline - started)) from None
        except ConnectTimeout:
            raise ModelCallError(
                ErrorType.TIMEOUT,
                f"{self.url} took no connection within {self._endpoint.connect_timeout:g} s.",
                timeout=TimeoutKind.CONNECT,
            ) from None
        except Unreachable as error:
            raise ModelCallError(
                ErrorType.CONNECTION, f"{self.url} can't be reached ({self._reason(error)})."
            ) from None
        except httpx.DecodingError as error:
            raise ModelCallError(
                ErrorType.SERVER_ERROR,
                f"{self.url} sent a body that can't be unpacked ({self._reason(error)}).",
            ) from None
        except Broken as error:
            raise ModelCallError(
                ErrorType.CONNECTION, f"{self.url} broke off the exchange ({self._reason(error)})."
            ) from None

    def _timed_out(self, watch: Watch | None, seconds: float) -> ModelCallError:
        kind, wait = watch.timed_out() if watch else (TimeoutKind.TOTAL, 0.0)
        match kind:
            case TimeoutKind.FIRST_TOKEN:
                said = f"began no answer within {wait:g} s"
            case TimeoutKind.STALL:
                said = f"began an answer and was silent for {wait:g} s"
            case _:
                said = f"gave no whole answer within {seconds:.1f} s"
        return ModelCallError(ErrorType.TIMEOUT, f"{self.url} {said}.", timeout=kind)

    def _reason(self, error: Exception) -> str:
        said = self._struck(str(error).encode("utf-8", "replace")).decode()
        return one_line(said) or type(error).__name__

    def _struck(self, data: bytes) -> bytes:
        """Without our keys, which a server may say back to us; nothing behind this place can show them then."""
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, b"***")
        return data

    def _struck_headers(self, headers: Headers) -> Headers:
        if not any(secret in value for secret in self._secrets for _, value in headers):
            return headers
        return tuple((name, self._struck(value)) for name, value in headers)

    async def _exchange(
        self,
        connection: Connection,
        head: Head,
        asked: bytes | None,
        watch: Watch,
        reading: Reading | None,
        limit: int | None = None,
    ) -> Reply:
        clock = asyncio.get_running_loop().time
        started = clock()
        if reading is not None:
            watch.wait(TimeoutKind.FIRST_TOKEN, self._endpoint.first_token_timeout, started)
        answer = await connection.ask(head, asked)
        status, headers = answer.status, self._struck_headers(answer.headers)
        body = body_of(answer, connection)
        try:
            begins = await body.read()
            if (
                reading is not None
                and begins
                and status == 200
                and (reader := reader_of(_content_type(headers), begins)) is not None
            ):
                begun = Reply(200, headers, b"", 0.0)
                reading.begin(begun.simulated, begun.kept_headers())
                strike = self._struck if self._secrets else None
                following = Following(self.url, watch, reading, reader, self._endpoint.stall_timeout, strike)
                first = await following.run(begins, body)
                waited = None if first is None else first - started
                return Reply(200, headers, b"", clock() - started, True, waited)
            chunks: list[bytes] = []
            size, chunk = 0, begins
            while chunk:
                size += len(chunk)
                check_size(size, self.url, limit)
                if reading is not None:
                    watch.wait(TimeoutKind.STALL, self._endpoint.stall_timeout, clock())
                chunks.append(chunk)
                chunk = await body.read()
        finally:
            if isinstance(body, Unpacked):
                await body.close()
        return Reply(status, headers, self._struck(b"".join(chunks)), clock() - started)


def _content_type(headers: Headers) -> str:
    return next((value.decode("latin-1") for name, value in headers if name == b"content-type"), "")
