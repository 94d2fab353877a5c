"""HTTP to one model server: one client, bounded in flight, one deadline per call, errors in our words."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from backends.addressing import checked_url, encoded, headers_of, secrets_of
from backends.failures import Words, failure, one_line
from backends.following import Following, Reading, Watch, check_size
from backends.streams import reader_of
from models.calls import ModelCallError
from models.endpoint import Endpoint
from models.enums import ErrorType, TimeoutKind

KEEP_ALIVE_SECONDS = 4.0
"""Idle connections are dropped before llama-server and uvicorn drop them (5 s), or a call lands on a dead
one."""

# What servers send is logged by httpcore at this level, our keys too where a server says them back.
logging.getLogger("httpcore").setLevel(logging.INFO)

SIMULATOR_HEADER = "x-penstock-simulator"

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
    headers: httpx.Headers
    body: bytes  # b"" where it was streamed to a Reading
    seconds: float
    streamed: bool = False
    first_seconds: float | None = None

    @property
    def simulated(self) -> bool:
        return SIMULATOR_HEADER in self.headers

    def kept_headers(self) -> dict[str, str]:
        """Request ids and rate limits; nothing else, so that no cookie or credential is ever stored."""
        return {
            name.decode("ascii", "replace").lower(): value.decode("latin-1")
            for name, value in self.headers.raw
            if name.lower().startswith(_KEPT_HEADERS)
        }

    def json(self) -> Any:
        """The body as JSON; raises ValueError."""
        return orjson.loads(self.body)


class Transport:
    """The HTTP client of one endpoint. Not more than `endpoint.slots` calls are in flight, whatever callers do.

    One connection pool per slot: httpcore's pool looks at all its connections for each request, which costs
    nine times the rest of a call at 32 connections. And bare transports: what httpx.AsyncClient adds (cookies,
    redirects, proxies from the environment) must not happen here, and costs a quarter of a call.

    Where a server offers HTTP/2 it is spoken, still with a connection for each slot: httpcore leaves a stream that is
    given up without a reset, and the server would go on writing. A connection of its own can be closed.
    """

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
        self._secure = self.url.startswith("https:")
        # A context without authorities for plain http: loading them takes 20 ms, and it fails closed.
        self._tls = ssl.create_default_context() if self._secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._timeouts = {"connect": endpoint.connect_timeout, "read": None, "write": None, "pool": None}
        self._slots = asyncio.Semaphore(endpoint.slots)
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._all: list[httpx.AsyncHTTPTransport] = []
        self._addresses: dict[str, httpx.URL] = {}
        self._closed = False
        self._questions = self._connection()  # a probe must not wait behind the calls

    def _connection(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(
            max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE_SECONDS
        )
        made = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits, http2=self._secure)
        self._all.append(made)
        return made

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
        return await self._send(method, url, body, deadline, headers=headers)

    def failure(self, reply: Reply, asked: str) -> ModelCallError:
        """The error for a reply whose status is not 200. `asked` names the model."""
        return failure(self.url, reply.status, reply.headers, reply.body, asked, words=self.words)

    async def close(self) -> None:
        self._closed = True
        while self._all:
            await self._all.pop().aclose()

    # --- the exchange ---------------------------------------------------------------------------------------

    def _address(self, url: str) -> httpx.URL:
        """Parsed once, which is a fifteenth of a call. Raises httpx.InvalidURL."""
        known = self._addresses.get(url)
        if known is None:
            known = httpx.URL(url)
            if len(self._addresses) < 64:
                self._addresses[url] = known
        return known

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        deadline: float,
        *,
        reading: Reading | None = None,
        headers: httpx.Headers | None = None,
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
            request = httpx.Request(
                method,
                self._address(url),
                headers=self._headers if headers is None else headers,
                content=body,
                extensions={"timeout": self._timeouts},
            )
            watch = Watch(deadline)
            async with watch:
                if not work:
                    return await self._exchange(self._questions, request, watch, None, limit)
                async with self._slots:
                    connection = self._idle.pop() if self._idle else self._connection()
                    try:
                        reply = await self._exchange(connection, request, watch, reading)
                    except BaseException:
                        if self._secure:  # it may speak HTTP/2, where only closing it stops the server
                            await self._drop(connection)
                        else:
                            self._idle.append(connection)
                        raise
                    self._idle.append(connection)
                    return reply
        except TimeoutError:
            raise self._timed_out(watch, max(0.0, deadline - started)) from None
        except httpx.ConnectTimeout:
            raise ModelCallError(
                ErrorType.TIMEOUT,
                f"{self.url} took no connection within {self._endpoint.connect_timeout:g} s.",
                timeout=TimeoutKind.CONNECT,
            ) from None
        except httpx.ConnectError as error:
            raise ModelCallError(
                ErrorType.CONNECTION, f"{self.url} can't be reached ({self._reason(error)})."
            ) from None
        except httpx.DecodingError as error:
            raise ModelCallError(
                ErrorType.SERVER_ERROR,
                f"{self.url} sent a body that can't be unpacked ({self._reason(error)}).",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ModelCallError(
                ErrorType.CONNECTION, f"{self.url} broke off the exchange ({self._reason(error)})."
            ) from None

    async def _drop(self, connection: httpx.AsyncHTTPTransport) -> None:
        if connection in self._all:
            self._all.remove(connection)
        await connection.aclose()

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

    def _struck_headers(self, headers: httpx.Headers) -> httpx.Headers:
        if not any(secret in value for secret in self._secrets for _, value in headers.raw):
            return headers
        return httpx.Headers([(name, self._struck(value)) for name, value in headers.raw])

    async def _exchange(
        self,
        connection: httpx.AsyncHTTPTransport,
        request: httpx.Request,
        watch: Watch,
        reading: Reading | None,
        limit: int | None = None,
    ) -> Reply:
        clock = asyncio.get_running_loop().time
        started = clock()
        if reading is not None:
            watch.wait(TimeoutKind.FIRST_TOKEN, self._endpoint.first_token_timeout, started)
        response = await connection.handle_async_request(request)
        # Two more generators for each reply are of use only where there is something to unpack.
        packed = "content-encoding" in response.headers
        assert isinstance(response.stream, httpx.AsyncByteStream)
        stream: AsyncIterator[bytes] = response.aiter_bytes() if packed else aiter(response.stream)
        try:
            begins = await anext(stream, None)
            if (
                reading is not None
                and begins is not None
                and response.status_code == 200
                and (reader := reader_of(response.headers.get("content-type", ""), begins)) is not None
            ):
                headers = self._struck_headers(response.headers)
                begun = Reply(200, headers, b"", 0.0)
                reading.begin(begun.simulated, begun.kept_headers())
                following = Following(
                    self.url,
                    watch,
                    reading,
                    reader,
                    self._endpoint.stall_timeout,
                    self._struck if self._secrets else None,
                )
                first = await following.run(begins, stream)
                waited = None if first is None else first - started
                return Reply(200, headers, b"", clock() - started, True, waited)
            chunks: list[bytes] = []
            size, chunk = 0, begins
            while chunk is not None:
                size += len(chunk)
                check_size(size, self.url, limit)
                if reading is not None:
                    watch.wait(TimeoutKind.STALL, self._endpoint.stall_timeout, clock())
                chunks.append(chunk)
                chunk = await anext(stream, None)
        finally:
            if isinstance(stream, AsyncGenerator):  # not left to the garbage collector, which is late
                await stream.aclose()
            await response.aclose()
        return Reply(
            response.status_code,
            self._struck_headers(response.headers),
            self._struck(b"".join(chunks)),
            clock() - started,
        )
