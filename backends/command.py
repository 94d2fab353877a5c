"""A program as a backend: claude, codex or gemini on the command line, or any other that reads a prompt and prints.

The prompt goes to its standard input, its answer is read from standard output: as text, as one JSON, or as lines of
JSON. It is started without a shell, in a folder of its own, with the variables that are named and no others. What it
prints is text to be checked like any answer: nothing of it is ever run.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from backends import replies
from backends.agents import described
from backends.failures import SNIPPET, one_line
from backends.pointers import find, holds, parsed
from backends.processes import Ended, TooMuch, run
from backends.streams import NDJSON
from models.calls import ModelAnswer, ModelCallError, ModelInfo, ModelRequest, Probe
from models.endpoint import CommandSpec, Endpoint
from models.enums import ErrorType, TimeoutKind
from models.errors import SettingsError

ALWAYS = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "SSL_CERT_FILE")
"""Variables that any program gets, where they are set."""

DEFAULT_MODEL = "default"
"""The model of a program that is not told which: its own choice."""

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)

_SAID: tuple[tuple[re.Pattern[str], ErrorType], ...] = (
    (re.compile(r"usage limit|rate.?limit|quota|\b429\b|too many requests", re.I), ErrorType.RATE_LIMITED),
    (re.compile(r"overloaded|\b529\b|\b503\b", re.I), ErrorType.OVERLOADED),
    (
        re.compile(
            r"not logged in|log ?in\b|invalid api key|unauthori[sz]ed|authenticat|\b401\b|\b403\b", re.I
        ),
        ErrorType.AUTH,
    ),
    (re.compile(r"prompt is too long|context (?:length|window)", re.I), ErrorType.CONTEXT_TOO_LONG),
    (
        re.compile(r"model[^.]{0,80}(?:not found|not exist|unknown)|unknown model", re.I),
        ErrorType.MODEL_MISSING,
    ),
    (re.compile(r"out of memory|cannot allocate memory", re.I), ErrorType.OUT_OF_MEMORY),
)
"""What the message of a program that failed says. No message: SERVER_ERROR."""


@dataclass(slots=True)
class _Said:
    """What its output has said so far."""

    raw: list[bytes] = field(default_factory=list)
    text: str | None = None
    error: str = ""
    finished: bool = False
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    first: float | None = None


class CommandBackend:
    """One program on this machine; `slots` of it run at once."""

    def __init__(self, endpoint: Endpoint) -> None:
        assert endpoint.command is not None
        self.name = str(endpoint.backend)
        self.url = endpoint.url
        self._endpoint = endpoint
        self._spec = described(endpoint.command)
        self._slots = asyncio.Semaphore(endpoint.slots)
        self._closed = False
        self._env = {
            name: value for name in (*ALWAYS, *self._spec.env) if (value := os.environ.get(name)) is not None
        }
        self._secrets = [
            value for name, value in self._env.items() if _SECRET.search(name) and len(value) > 3
        ]
        self._check_spec(self._spec)

    def _check_spec(self, spec: CommandSpec) -> None:
        """Raises SettingsError for what can't work."""
        optional = (spec.finish, spec.model, spec.completion_tokens, spec.cached_tokens)
        for pointer in (*spec.text, *spec.error, *spec.where, *spec.prompt_tokens, *optional):
            if pointer is not None:
                parsed(pointer)
        if spec.output != "text" and not spec.text:
            raise SettingsError(
                f"{self.url} prints {spec.output}, and `text` does not say where in it the answer is. "
                'Write for example text = ["/result"].'
            )
        if spec.folder is not None and not spec.folder.is_dir():
            raise SettingsError(
                f"The folder {spec.folder} of {self.url} is not there. Make it, or leave it out."
            )

    async def close(self) -> None:
        self._closed = True

    # --- asking ---------------------------------------------------------------------------------------------

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        if self._closed:
            raise RuntimeError(f"the backend at {self.url} was closed")
        clock = asyncio.get_running_loop().time
        started = clock()
        replies.check_fits(request, self.url)
        if request.images or request.wants_image:
            raise ModelCallError(ErrorType.MALFORMED, f"{self.url} takes no pictures: it is a program.")
        said = _Said()
        command = self._command(request)
        given = "\n\n".join(part for part in (request.system, request.prompt) if part)
        try:
            if started >= deadline:
                raise TimeoutError
            async with asyncio.timeout_at(deadline), self._slots:
                with self._folder() as folder:
                    ended = await self._run(command, given.encode("utf-8", "replace"), folder, said)
        except TimeoutError:
            seconds = max(0.0, deadline - started)
            raise ModelCallError(
                ErrorType.TIMEOUT,
                f"{self.url} gave no whole answer within {seconds:.1f} s, and was ended with all it had started.",
                timeout=TimeoutKind.TOTAL,
            ) from None
        return self._judge(request, said, ended, clock() - started, started)

    def _command(self, request: ModelRequest) -> list[str]:
        if request.model.startswith("-"):
            raise ModelCallError(
                ErrorType.MODEL_MISSING, f"{request.model!r} is no name of a model: it would be an option."
            )
        values = {"{model}": request.model, "{max_tokens}": str(request.max_tokens)}
        parts = list(self._spec.run)
        if request.model not in (DEFAULT_MODEL, ""):
            at = len(parts) - 1 if parts[-1] == "-" else len(parts)
            parts[at:at] = self._spec.model_args
        return [_filled(part, values) for part in parts]

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        if self._spec.folder is not None:
            yield self._spec.folder
            return
        with tempfile.TemporaryDirectory(prefix="penstock-", ignore_cleanup_errors=True) as made:
            yield Path(made)

    async def _run(self, command: Sequence[str], given: bytes, folder: Path, said: _Said) -> Ended:
        clock = asyncio.get_running_loop().time
        lines = NDJSON() if self._spec.output == "jsonl" else None

        def hear(chunk: bytes) -> None:
            if said.first is None:
                said.first = clock()
            if lines is None:
                said.raw.append(chunk)
            else:
                self._events(lines.feed(chunk), said)

        try:
            ended = await run(
                command,
                given=given,
                environment=self._env,
                folder=folder,
                most=self._spec.max_output,
                hear=hear,
            )
        except OSError as error:
            raise ModelCallError(
                ErrorType.UNAVAILABLE,
                f"{command[0]} can't be started ({error.strerror}). Install it, or correct the endpoint's `run`.",
            ) from None
        except TooMuch:
            raise ModelCallError(
                ErrorType.MALFORMED,
                f"{self.url} wrote more than {self._spec.max_output} bytes for one answer and was ended.",
            ) from None
        if lines is not None:
            self._events(lines.end(), said)
        return ended

    # --- reading --------------------------------------------------------------------------------------------

    def _events(self, events: Sequence[bytes], said: _Said) -> None:
        for event in events:
            try:
                page = orjson.loads(event)
            except orjson.JSONDecodeError:
                continue  # programs print warnings among their lines
            self._page(page, said)

    def _page(self, page: Any, said: _Said) -> None:
        spec = self._spec
        for pointer in spec.error:
            if holds(page, {pointer: ["*"]}):
                wrong = find(page, pointer)
                said.error = wrong if isinstance(wrong, str) else orjson.dumps(wrong).decode()
        if not spec.where or holds(page, spec.where):
            for pointer in spec.text:
                text = find(page, pointer)
                if isinstance(text, str):
                    said.text = text
        said.finished |= spec.finish is not None and find(page, spec.finish) is not None
        counts = [replies.count(find(page, pointer)) for pointer in spec.prompt_tokens]
        if any(count is not None for count in counts):
            said.prompt_tokens = sum(count or 0 for count in counts)
        said.completion_tokens = _newer(page, spec.completion_tokens, said.completion_tokens)
        said.cached_tokens = _newer(page, spec.cached_tokens, said.cached_tokens)
        if spec.model is not None and isinstance(name := find(page, spec.model), str):
            said.model = name

    def _judge(
        self, request: ModelRequest, said: _Said, ended: Ended, seconds: float, started: float
    ) -> ModelAnswer:
        if self._spec.output != "jsonl":
            self._whole(b"".join(said.raw), said)
        answer = ModelAnswer(
            text=replies.visible(said.text or ""),
            model=said.model or request.model,
            finish_reason="exit 0" if ended.code == 0 else f"exit {ended.code}",
            prompt_tokens=said.prompt_tokens,
            completion_tokens=said.completion_tokens,
            seconds=seconds,
            cached_tokens=said.cached_tokens,
            first_seconds=None if said.first is None else said.first - started,
        )
        partial = answer if answer.text else None
        if ended.code != 0 or said.error:
            # What it reports as its error says more than what stands on standard error, but may be a mere `true`.
            words = said.error if said.error not in ("", "true", "1") else said.text if said.error else ""
            raise self._failed(ended, self._clean(words or ended.tail), partial)
        if self._spec.finish is not None and not said.finished:
            raise ModelCallError(
                ErrorType.SERVER_ERROR,
                f"{self.url} ended without saying that its answer is finished.",
                partial=partial,
            )
        if request.model != DEFAULT_MODEL and not replies.same_model(request.model, answer.model):
            raise ModelCallError(
                ErrorType.MODEL_MISSING,
                f"{self.url} was asked for {request.model!r} and answered with {answer.model!r}.",
                partial=answer,
            )
        if not answer.text:
            raise ModelCallError(ErrorType.EMPTY, f"{self.url} printed no answer.", partial=answer)
        return answer

    def _whole(self, raw: bytes, said: _Said) -> None:
        if self._spec.output == "text":
            said.text = raw.decode("utf-8", "replace")
            return
        begins = raw.find(b"{")  # some say a word before
        try:
            page = orjson.loads(raw[begins:]) if begins >= 0 else None
        except orjson.JSONDecodeError:
            page = None
        if page is not None:
            self._page(page, said)
        elif raw.strip():
            said.error = (
                said.error or f"what it printed is no JSON: {one_line(raw.decode('utf-8', 'replace'))}"
            )

    def _clean(self, text: str) -> str:
        """Without the values of variables that hold secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return one_line(" ".join(text.split())[-SNIPPET:])  # programs say last what went wrong

    def _failed(self, ended: Ended, words: str, partial: ModelAnswer | None) -> ModelCallError:
        how = f"was ended by signal {-ended.code}" if ended.code < 0 else f"ended with {ended.code}"
        kind = next((kind for said, kind in _SAID if said.search(words)), ErrorType.SERVER_ERROR)
        return ModelCallError(
            kind, f"{self.url} {how}" + (f": {words.rstrip('.')}." if words else "."), partial=partial
        )

    # --- probing --------------------------------------------------------------------------------------------

    async def probe(self, deadline: float) -> Probe:
        """Is the program there? Its model is not asked: that costs money, and some minutes."""
        program = self._spec.run[0]
        place = shutil.which(program, path=self._env.get("PATH"))
        if place is None:
            return Probe(reachable=False, detail=f"there is no program {program} on the PATH")
        detail = f"runs {place}"
        if self._spec.check:
            heard: list[bytes] = []
            try:
                async with asyncio.timeout_at(deadline):
                    with self._folder() as folder:
                        ended = await run(
                            self._spec.check,
                            given=b"",
                            environment=self._env,
                            folder=folder,
                            most=1 << 16,
                            hear=heard.append,
                        )
            except (TimeoutError, OSError, TooMuch) as error:
                why = (
                    "did not end in time"
                    if isinstance(error, TimeoutError)
                    else one_line(str(error)) or "failed"
                )
                return Probe(reachable=False, detail=f"`{' '.join(self._spec.check)}` {why}")
            if ended.code != 0:
                said = self._clean(ended.tail)
                return Probe(
                    reachable=False, detail=f"`{' '.join(self._spec.check)}` ended with {ended.code}: {said}"
                )
            version = self._clean(b"".join(heard).decode("utf-8", "replace"))
            detail = f"{detail}, {version}" if version else detail
        return Probe(
            reachable=True,
            detail=detail,
            models=(ModelInfo(name=self._endpoint.model or DEFAULT_MODEL),),
        )


def _filled(part: str, values: dict[str, str]) -> str:
    return re.sub(r"\{model\}|\{max_tokens\}", lambda found: values[found[0]], part)


def _newer(page: Any, pointer: str | None, known: int | None) -> int | None:
    found = replies.count(find(page, pointer)) if pointer is not None else None
    return known if found is None else found
