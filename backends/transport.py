"""HTTP to one model server: one client, bounded in flight, one deadline per call, errors in our words."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from backends import replies
from models.calls import ModelCallError
from models.enums import ErrorType
from models.errors import SettingsError
from models.settings import Endpoint

CONNECT_SECONDS = 5.0
"""A server that does not take a connection in this time is not there, however long the deadline is."""

KEEP_ALIVE_SECONDS = 4.0
"""Idle connections are dropped before llama-server and uvicorn drop them (5 s), or a call lands on a dead
one."""

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of one reply; more is no answer but a server gone wrong."""

_TIMEOUTS = {
    "connect": CONNECT_SECONDS,
    "read": None,
    "write": None,
    "pool": None,
}  # the deadline bounds the rest

SIMULATOR_HEADER = "x-penstock-simulator"

_KEPT_HEADERS = (b"x-request-id", b"request-id", b"x-ratelimit-", b"retry-after", b"llm_provider-retry-after")


@dataclass(slots=True)
class Reply:
    """One complete HTTP reply."""

    status: int
    headers: httpx.Headers
    body: bytes
    seconds: float

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


def checked_url(endpoint: Endpoint) -> str:
    """The endpoint's URL without a trailing slash. Raises SettingsError on one that can't be used or holds
    secrets.
    """
    try:
        parts = urlsplit(endpoint.url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(
            f"{endpoint.url!r} is no URL of an {endpoint.backend} server; write for example "
            f"http://127.0.0.1:8000/v1."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError(
            f"The URL of the {endpoint.backend} endpoint at {parts.hostname} holds a password, query or "
            f"fragment. "
            "Write the bare URL, and the key as api_key."
        )
    return endpoint.url.rstrip("/")


def authorization(endpoint: Endpoint) -> dict[str, str]:
    """The Authorization header. A key that can't be one is refused here, where its value is not shown."""
    if endpoint.api_key is None:
        return {}
    key = endpoint.api_key.get_secret_value()
    if not (key and key.isascii() and key.isprintable() and " " not in key):
        raise SettingsError(
            f"The api_key of {endpoint.url} is empty or has blanks, line breaks or non-ASCII characters. "
            "Copy it again without them."
        )
    return {"Authorization": f"Bearer {key}"}


class Transport:
    """The HTTP client of one endpoint. Not more than `endpoint.slots` calls are in flight, whatever callers do.

    One connection pool per slot: httpcore's pool looks at all its connections for each request, which costs
    nine times the rest of a call at 32 connections. And bare transports: what httpx.AsyncClient adds (cookies,
    redirects, proxies from the environment) must not happen here, and costs a quarter of a call.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.url = checked_url(endpoint)
        self._key = endpoint.api_key.get_secret_value() if endpoint.api_key else ""
        self._headers = httpx.Headers(
            {
                "User-Agent": "penstock",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
                **authorization(endpoint),
            }
        )
        # A context without authorities for plain http: loading them takes 20 ms, and it fails closed.
        self._tls = (
            ssl.create_default_context()
            if self.url.startswith("https:")
            else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )
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
        made = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits)
        self._all.append(made)
        return made

    async def post(self, path: str, payload: dict[str, Any], deadline: float) -> Reply:
        """POST JSON. Any status is returned; raises ModelCallError (CONNECTION, TIMEOUT, SERVER_ERROR, MALFORMED)."""
        try:
            body = orjson.dumps(payload)
        except TypeError:  # lone surrogates from undecodable input
            body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
        return await self._send("POST", self.url + path, body, deadline)

    async def get(self, path: str, deadline: float, *, base: str | None = None) -> Reply:
        """GET, outside the slots: for questions about the server, not for work."""
        return await self._send("GET", (base or self.url) + path, None, deadline)

    def _address(self, url: str) -> httpx.URL:
        """Parsed once, which is a fifteenth of a call. Raises httpx.InvalidURL."""
        known = self._addresses.get(url)
        if known is None:
            known = self._addresses[url] = httpx.URL(url)
        return known

    async def close(self) -> None:
        self._closed = True
        while self._all:
            await self._all.pop().aclose()

    def failure(self, reply: Reply, asked: str) -> ModelCallError:
        """The error for a reply whose status is not 200. `asked` names the model."""
        return failure(self.url, reply, asked, self._key)

    async def _send(self, method: str, url: str, body: bytes | None, deadline: float) -> Reply:
        if self._closed:
            raise RuntimeError(f"the backend at {self.url} was closed")
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            if started >= deadline:
                raise TimeoutError
            request = httpx.Request(
                method,
                self._address(url),
                headers=self._headers,
                content=body,
                extensions={"timeout": _TIMEOUTS},
            )
            async with asyncio.timeout_at(deadline):
                if body is None:
                    return await self._exchange(self._questions, request)
                async with self._slots:
                    connection = self._idle.pop() if self._idle else self._connection()
                    try:
                        return await self._exchange(connection, request)
                    finally:
                        self._idle.append(connection)
        except TimeoutError:
            raise ModelCallError(
                ErrorType.TIMEOUT,
                f"{self.url} gave no whole answer within {max(0.0, deadline - started):.1f} s.",
            ) from None
        except httpx.ConnectTimeout:
            raise ModelCallError(
                ErrorType.CONNECTION,
                f"{self.url} took no connection within {CONNECT_SECONDS:.0f} s.",
            ) from None
        except httpx.ConnectError as error:
            raise ModelCallError(
                ErrorType.CONNECTION, f"{self.url} can't be reached ({reason(error)})."
            ) from None
        except httpx.DecodingError as error:
            raise ModelCallError(
                ErrorType.SERVER_ERROR, f"{self.url} sent a body that can't be unpacked ({reason(error)})."
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ModelCallError(
                ErrorType.CONNECTION, f"{self.url} broke off the exchange ({reason(error)})."
            ) from None

    async def _exchange(self, connection: httpx.AsyncHTTPTransport, request: httpx.Request) -> Reply:
        clock = asyncio.get_running_loop().time
        started = clock()
        response = await connection.handle_async_request(request)
        try:
            chunks, size = [], 0
            packed = "content-encoding" in response.headers
            assert isinstance(response.stream, httpx.AsyncByteStream)
            # Two more generators for each reply are of use only where there is something to unpack.
            async for chunk in response.aiter_bytes() if packed else response.stream:
                size += len(chunk)
                if size > BODY_LIMIT:
                    raise ModelCallError(
                        ErrorType.MALFORMED,
                        f"{self.url} sent more than {BODY_LIMIT >> 20} MiB for one answer.",
                    )
                chunks.append(chunk)
        finally:
            await response.aclose()
        return Reply(response.status_code, response.headers, b"".join(chunks), clock() - started)


def reason(error: Exception) -> str:
    return " ".join(str(error).split())[: replies.SNIPPET] or type(error).__name__


def failure(url: str, reply: Reply, asked: str, key: str = "") -> ModelCallError:
    """The error for a reply whose status is not 200. `asked` names the model; `key` is struck from what it
    quotes.
    """
    text = replies.error_text(reply.body)
    if key:
        text = text.replace(key, "***")
    kind = replies.classify(reply.status, text)
    said = f"{url} answered {reply.status}" + (f": {text}" if text else " with an empty body")
    if 300 <= reply.status < 400:
        said = f"{url} answered {reply.status}, a redirect, which is not followed. Write the URL it leads to"
    advice = {
        ErrorType.AUTH: " Check the endpoint's api_key.",
        ErrorType.MODEL_MISSING: f" Asked was {asked!r}: does the server have it, and is the URL right?",
    }.get(kind, "")
    wait = replies.retry_after(
        reply.headers.get("retry-after") or reply.headers.get("llm_provider-retry-after")
    )
    return ModelCallError(kind, said.rstrip(".") + "." + advice, retry_after=wait)
