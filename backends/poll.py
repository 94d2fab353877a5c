"""A service that queues: submit a job, ask until it is ready, fetch the result. All of it described in settings.

Submitting is never repeated here: it may cost quota. Asking is, when a question gets lost on the way: the job goes on
all the same. Nothing is asked that the deadline leaves no time for.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import httpx

from backends import replies
from backends.addressing import encoded
from backends.failures import one_line
from backends.pointers import find, holds, parsed
from backends.transport import Reply, Transport
from models.calls import Image, ModelAnswer, ModelCallError, ModelInfo, ModelRequest, Probe
from models.endpoint import Call, Endpoint
from models.enums import ErrorType, TimeoutKind
from models.errors import SettingsError

CALL_SECONDS = 15.0
"""For one question about a job; the next one may do better. Submitting and fetching have the whole deadline."""

LOST = 3
"""Questions in a row that may get lost."""

DEFAULT_MODEL = "default"

RESULT = "{result}"

_FIELD = re.compile(r"\{(\w+)\}")
_FIELDS = frozenset(
    {
        "prompt",
        "system",
        "model",
        "max_tokens",
        "temperature",
        "id",
        "result",
        "image",
        "image_type",
        "api_key",
    }
)
_PASSING = frozenset(
    {
        ErrorType.CONNECTION,
        ErrorType.TIMEOUT,
        ErrorType.OVERLOADED,
        ErrorType.RATE_LIMITED,
        ErrorType.SERVER_ERROR,
        ErrorType.UNAVAILABLE,
    }
)


class PollBackend:
    """One queue-style service."""

    def __init__(
        self, endpoint: Endpoint, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        assert endpoint.poll is not None
        self.name = str(endpoint.backend)
        self.url = endpoint.url.rstrip("/")
        self._endpoint = endpoint
        self._spec = endpoint.poll
        self._pause = pause
        self._jobs = asyncio.Semaphore(endpoint.slots)
        self._check_spec()
        calls = [call for call in (self._spec.submit, self._spec.poll, self._spec.fetch) if call is not None]
        placed = any("{api_key}" in text for call in calls for text in (call.url, *_texts(call.body)))
        self._http = Transport(endpoint, key_header="" if placed else "authorization")

    def _check_spec(self) -> None:
        """Raises SettingsError for what can't work."""
        spec = self._spec
        for pointer in (spec.id, spec.result, *spec.success, *spec.pending, *spec.failed):
            parsed(pointer)
        if not spec.success:
            raise SettingsError(f"Nothing under poll.success of {self.url} says that a job is ready. Say it.")
        for call in (spec.submit, spec.poll, spec.fetch):
            if call is None:
                continue
            for text in (call.url, *_texts(call.body)):
                unknown = set(_FIELD.findall(text)) - _FIELDS
                if unknown:
                    raise SettingsError(
                        f"{{{sorted(unknown)[0]}}} in a call of {self.url} is not known; there are "
                        f"{', '.join(sorted(_FIELDS))}."
                    )
        if "{id}" not in " ".join((spec.poll.url, *_texts(spec.poll.body))):
            raise SettingsError(f"The call poll.poll of {self.url} does not say which job: it needs {{id}}.")

    async def close(self) -> None:
        await self._http.close()

    # --- asking ---------------------------------------------------------------------------------------------

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        clock = asyncio.get_running_loop().time
        started = clock()
        replies.check_fits(request, self.url)
        try:
            async with asyncio.timeout_at(deadline), self._jobs:
                values = self._values(request)
                reply = await self._call(self._spec.submit, values, deadline)
                page = self._page(reply, request)
                self._check_failed(page)
                job = find(page, self._spec.id)
                if not isinstance(job, str | int) or isinstance(job, bool) or job == "":
                    raise ModelCallError(
                        ErrorType.SERVER_ERROR, f"{self.url} took the job and gave no id at {self._spec.id}."
                    )
                values["id"] = str(job)
                page, reply = await self._wait(request, values, deadline)
                answer = await self._result(request, page, reply, values, deadline)
        except TimeoutError:
            raise ModelCallError(
                ErrorType.TIMEOUT,
                f"{self.url} was not done within {max(0.0, deadline - started):.1f} s.",
                timeout=TimeoutKind.TOTAL,
            ) from None
        text, images, reply = answer
        made = ModelAnswer(
            text=replies.visible(text),
            model=request.model,
            finish_reason="success",
            seconds=clock() - started,
            simulated=reply.simulated,
            headers=reply.kept_headers(),
            images=images,
        )
        if not made.text and not images:
            raise ModelCallError(ErrorType.EMPTY, f"{self.url} said ready and gave nothing.", partial=made)
        if request.wants_image and not images:
            raise ModelCallError(ErrorType.EMPTY, f"{self.url} gave no picture.", partial=made)
        return made

    def _values(self, request: ModelRequest) -> dict[str, Any]:
        values: dict[str, Any] = {
            "prompt": request.prompt,
            "system": request.system,
            "model": request.model,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "api_key": self._endpoint.key(),
        }
        if request.images:
            values |= {"image": request.images[0], "image_type": request.images[0].media_type}
        return values

    async def _wait(
        self, request: ModelRequest, values: Mapping[str, Any], deadline: float
    ) -> tuple[Any, Reply]:
        """The page that says ready, with its reply."""
        clock = asyncio.get_running_loop().time
        spec, lost, pause = self._spec, 0, self._spec.interval
        for _ in range(spec.max_polls):
            if clock() + pause >= deadline:
                raise TimeoutError
            await self._pause(pause)
            pause = spec.interval
            try:
                reply = await self._call(spec.poll, values, min(deadline, clock() + CALL_SECONDS))
                page = self._page(reply, request)
            except ModelCallError as error:
                lost += 1
                if error.error_type not in _PASSING or lost > LOST:
                    raise
                pause = max(pause, error.retry_after or 0.0)
                continue
            lost = 0
            self._check_failed(page)
            if holds(page, spec.success):
                return page, reply
            if spec.pending and not holds(page, spec.pending):
                raise ModelCallError(
                    ErrorType.SERVER_ERROR,
                    f"{self.url} says neither ready, failed nor not yet: {self._cleaned(reply.body)}",
                )
        raise ModelCallError(
            ErrorType.TIMEOUT,
            f"{self.url} was asked {spec.max_polls} times and the job is not ready. Raise max_polls or interval.",
            timeout=TimeoutKind.TOTAL,
        )

    async def _result(
        self, request: ModelRequest, page: Any, reply: Reply, values: dict[str, Any], deadline: float
    ) -> tuple[str, tuple[Image, ...], Reply]:
        result = find(page, self._spec.result)
        if self._spec.fetch is None:
            return (result if isinstance(result, str) else ""), (), reply
        if not isinstance(result, str) or not result:
            raise ModelCallError(
                ErrorType.SERVER_ERROR, f"{self.url} said ready and names no result at {self._spec.result}."
            )
        values["result"] = result
        fetched = await self._call(self._spec.fetch, values, deadline)
        if fetched.status != 200:
            raise self._http.failure(fetched, request.model)
        kind = fetched.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.startswith("image/"):
            return "", (Image(kind, fetched.body),), fetched
        return fetched.body.decode("utf-8", "replace"), (), fetched

    # --- one call -------------------------------------------------------------------------------------------

    async def _call(self, call: Call, values: Mapping[str, Any], deadline: float) -> Reply:
        url = _FIELD.sub(lambda found: quote(_plain(values.get(found[1], "")), safe=""), call.url)
        if call.url == RESULT:  # a whole URL, or one relative to ours, as pages have them
            try:
                url = urljoin(self.url + "/", str(values["result"]))
            except ValueError:
                raise ModelCallError(
                    ErrorType.SERVER_ERROR,
                    f"{self.url} names a result at {one_line(str(values['result']))}: no URL.",
                ) from None
        elif "://" not in url:
            url = self.url + ("" if url.startswith(("/", "?")) else "/") + url
        bare = self._is_elsewhere(url)
        body, kind = _written(call, values) if call.body is not None else (None, "")
        return await self._http.send(call.method, url, body, deadline, content_type=kind, bare=bare)

    def _is_elsewhere(self, url: str) -> bool:
        """Of a URL that the server named: may it be fetched, and without our headers? Raises ModelCallError."""
        ours, theirs = urlsplit(self.url), urlsplit(url)
        if (theirs.scheme, theirs.netloc) == (ours.scheme, ours.netloc):
            return False
        if theirs.scheme in ("https", ours.scheme) and (theirs.hostname or "") in self._spec.fetch_hosts:
            return True
        host = one_line(theirs.hostname or url)
        raise ModelCallError(
            ErrorType.SERVER_ERROR,
            f"{self.url} names a result on {host}, which is not one of its fetch_hosts. Add it if you trust it.",
        )

    def _page(self, reply: Reply, request: ModelRequest) -> Any:
        if reply.status != 200:
            raise self._http.failure(reply, request.model)
        return replies.json_object(reply.body, self.url)

    def _check_failed(self, page: Any) -> None:
        if not holds(page, self._spec.failed):
            return
        said = self._cleaned(encoded(page))
        kind = next(
            (kind for word, kind in self._spec.errors.items() if word.lower() in said.lower()),
            ErrorType.SERVER_ERROR,
        )
        raise ModelCallError(kind, f"{self.url} says that the job failed: {said}")

    @staticmethod
    def _cleaned(body: bytes) -> str:
        return one_line(body.decode("utf-8", "replace"))

    # --- probing --------------------------------------------------------------------------------------------

    async def probe(self, deadline: float) -> Probe:
        """Does something answer there? No job is submitted: it may cost quota."""
        try:
            reply = await self._http.get("", deadline)
        except ModelCallError as error:
            return Probe.failed(error)
        if reply.status in (401, 403) or reply.status >= 500:
            return Probe.failed(self._http.failure(reply, ""))
        return Probe(
            reachable=True,
            detail=f"answers {reply.status}; whether it takes jobs is seen with the first one",
            models=(ModelInfo(name=self._endpoint.model or DEFAULT_MODEL),),
            simulated=reply.simulated,
        )


def _texts(body: Any) -> list[str]:
    if isinstance(body, str):
        return [body]
    if isinstance(body, Mapping):
        return [text for value in body.values() for text in _texts(value)]
    return [text for value in body for text in _texts(value)] if isinstance(body, list) else []


def _plain(value: Any) -> str:
    return base64.b64encode(value.data).decode() if isinstance(value, Image) else str(value)


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """A text that is one field alone becomes its value, a number a number; within a text it becomes text."""
    if isinstance(value, str):
        whole = _FIELD.fullmatch(value)
        if whole is not None:
            found = values.get(whole[1], "")
            return _plain(found) if isinstance(found, Image) else found
        return _FIELD.sub(lambda found: _plain(values.get(found[1], "")), value)
    if isinstance(value, Mapping):
        return {key: _filled(inner, values) for key, inner in value.items()}
    return [_filled(inner, values) for inner in value] if isinstance(value, list) else value


def _written(call: Call, values: Mapping[str, Any]) -> tuple[bytes, str]:
    """The body and its content type."""
    assert call.body is not None
    if call.format == "json":
        return encoded(_filled(call.body, values)), "application/json"
    if call.format == "form":
        pairs = {key: str(_filled(value, values)) for key, value in call.body.items()}
        return urlencode(pairs, errors="replace").encode(), "application/x-www-form-urlencoded"
    files: list[tuple[str, Any]] = []
    for key, value in call.body.items():
        picture = values.get("image") if value == "{image}" else None
        if isinstance(picture, Image):
            name = f"image.{picture.media_type.rpartition('/')[2]}"
            files.append((key, (name, picture.data, picture.media_type)))
        else:
            files.append((key, (None, str(_filled(value, values)).encode("utf-8", "replace"))))
    boundary = secrets.token_hex(16)
    kind = f"multipart/form-data; boundary={boundary}"
    request = httpx.Request("POST", "http://x", files=files, headers={"Content-Type": kind})
    return request.read(), kind
