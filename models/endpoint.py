"""One model server as it is declared: where it is, what it may be asked, how long it may take.

`command` and `poll` have no protocol of their own, so what to run or to send is described in tables of their names.
"""

from __future__ import annotations

import os
from datetime import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from models.enums import BackendName, ErrorType
from models.errors import SettingsError
from models.plugins import backend_names, is_backend

PROVIDER_URLS: dict[str, str] = {
    BackendName.ANTHROPIC: "https://api.anthropic.com",
    BackendName.GEMINI: "https://generativelanguage.googleapis.com/v1beta",
    BackendName.EXTRACTIVE: "extractive://local",
}
"""Where a kind of backend is when its endpoint does not say. None of them is used unless it is declared."""

_WITHOUT_BATCHES = frozenset(BackendName) - {BackendName.ANTHROPIC, BackendName.GEMINI, BackendName.OPENAI}

Pointer = str
"""A JSON pointer (RFC 6901): /choices/0/text"""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CommandSpec(_Strict):
    """What a `command` endpoint runs. Never through a shell; the prompt goes to its standard input."""

    agent: Literal["claude", "codex", "gemini"] | None = Field(
        default=None, description="a known command-line agent, which fills in what is not given"
    )
    run: list[str] = Field(
        default_factory=list,
        description="the program and its arguments; {model} and {max_tokens} are filled in",
    )
    model_args: list[str] = Field(
        default_factory=list, description="arguments added where the endpoint or the item names a model"
    )
    check: list[str] = Field(
        default_factory=list,
        description="what shows that it is there; ends with 0. None: the file is looked for",
    )
    output: Literal["text", "json", "jsonl"] | None = Field(default=None, description="what it prints")
    text: list[Pointer] = Field(
        default_factory=list, description="where in json or jsonl the answer is; the last one found counts"
    )
    where: dict[Pointer, list[Any]] = Field(
        default_factory=dict, description="of jsonl, only objects with one of these values hold the answer"
    )
    error: list[Pointer] = Field(
        default_factory=list, description="a value there that is not empty or false is a failure"
    )
    finish: Pointer | None = Field(default=None, description="a jsonl without a value there was cut off")
    model: Pointer | None = Field(default=None, description="the name of the model that answered")
    prompt_tokens: list[Pointer] = Field(default_factory=list, description="summed")
    completion_tokens: Pointer | None = None
    cached_tokens: Pointer | None = None
    env: list[str] = Field(
        default_factory=list,
        description="names of variables that it gets besides PATH, HOME and the language",
    )
    folder: Path | None = Field(
        default=None, description="where it runs; None: a new empty folder for each call, deleted after it"
    )
    max_output: int = Field(default=4 * 1024 * 1024, ge=1024, description="bytes; it is killed for more")

    @model_validator(mode="after")
    def _runs_something(self) -> CommandSpec:
        if not self.run and self.agent is None:
            raise ValueError("name an agent, or the program to run")
        if any("{prompt}" in part for part in self.run):
            raise ValueError("the prompt goes to standard input; {prompt} can't be an argument")
        return self


class Call(_Strict):
    """One HTTP request of a `poll` endpoint. Text may have {prompt}, {system}, {model} ... (docs/protocols.md)."""

    method: Literal["GET", "POST", "PUT"] = "GET"
    url: str = Field(description="a path below the endpoint's URL, with its query")
    body: dict[str, Any] | None = None
    format: Literal["json", "form", "multipart"] = Field(
        default="json", description="how the body is written"
    )


class PollSpec(_Strict):
    """How a queue is spoken to: submit once, poll until it is ready, fetch the result."""

    submit: Call
    id: Pointer = Field(description="where in the reply to submit the job's id is")
    poll: Call
    success: dict[Pointer, list[Any]] = Field(
        description='values that say ready; "*" is any that is not empty'
    )
    pending: dict[Pointer, list[Any]] = Field(
        default_factory=dict,
        description="values that say not yet; none given: all that is not one of the others",
    )
    failed: dict[Pointer, list[Any]] = Field(default_factory=dict, description="values that say it failed")
    result: Pointer = Field(
        description="where the answer is in the reply that says ready: text, or what to fetch"
    )
    fetch: Call | None = Field(default=None, description="how to get it; its url may be {result}")
    fetch_hosts: list[str] = Field(
        default_factory=list, description="other hosts that a result may be fetched from, without the key"
    )
    errors: dict[str, ErrorType] = Field(
        default_factory=dict, description="what a word in the message of a failure means"
    )
    interval: float = Field(default=2.0, gt=0, description="seconds between two polls")
    max_polls: int = Field(default=120, ge=1)


class Price(_Strict):
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0, description="of what was read before; None: as input")

    def halved(self) -> Price:
        cached = None if self.cached is None else self.cached / 2
        return Price(input=self.input / 2, output=self.output / 2, cached=cached)


class ModelSpec(_Strict):
    """What an operator knows of a model on an endpoint."""

    memory: float | None = Field(
        default=None, gt=0, description="GiB of the device that it takes while it is loaded"
    )
    weight: int = Field(default=1, ge=1, description="slots of the device that one request takes")
    slots: int | None = Field(default=None, ge=1, description="requests to it at once; None: the endpoint's")
    load_timeout: float = Field(
        default=300.0, gt=0, description="seconds for a load whose usual time is not known yet"
    )
    price: Price | None = None


class Device(_Strict):
    """What endpoints share: a GPU, or a machine whose processors and graphics share one memory."""

    name: str = Field(min_length=1)
    slots: int = Field(default=4, ge=1, le=256, description="requests at once over all its endpoints")
    memory: float | None = Field(default=None, gt=0, description="GiB for models; None: not counted")


class Budget(_Strict):
    """What the endpoints of an account may use, all in all. At 80 % a warning, at 100 % they stop."""

    account: str = Field(min_length=1, description="as the endpoints name it")
    tokens_per_day: int | None = Field(default=None, ge=1)
    usd_per_day: float | None = Field(default=None, gt=0)
    requests_per_day: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)


class Endpoint(_Strict):
    """One running model server, or what stands for one."""

    backend: str
    url: str
    slots: int = Field(default=4, ge=1, le=256, description="requests it may have in flight at once")
    model: str | None = Field(default=None, description="the model to ask for; None takes the first it lists")
    api_key: SecretStr | None = None
    api_key_env: str | None = Field(default=None, description="the environment variable that holds the key")
    key_header: str | None = Field(default=None, description="the header that carries the key")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="sent with every request")
    context_tokens: int = Field(default=8192, ge=512)
    keep_alive: int | str = Field(
        default="10m", description="how long Ollama keeps a model loaded after a call"
    )
    connect_timeout: float = Field(default=5.0, gt=0, description="seconds for a connection")
    first_token_timeout: float = Field(default=180.0, gt=0, description="seconds until the answer begins")
    stall_timeout: float = Field(default=30.0, gt=0, description="seconds of silence within an answer")
    call_timeout: float = Field(default=300.0, gt=0, description="seconds for one model call, all in all")
    command: CommandSpec | None = None
    poll: PollSpec | None = None
    options: dict[str, Any] = Field(default_factory=dict, description="for the backend of a plug-in")
    device: str | None = Field(default=None, description="the device it shares with others; None: its own")
    resident: int | None = Field(
        default=None, ge=1, description="models that it keeps loaded at once; None: as many as fit"
    )
    models: dict[str, ModelSpec] = Field(default_factory=dict, description="what is known of its models")
    account: str | None = Field(
        default=None, description="whose limits and cooldown it shares with others; None: its own"
    )
    quiet: str | None = Field(
        default=None,
        pattern=r"^\d\d:\d\d-\d\d:\d\d$",
        description="hours in which it is left alone, in the time zone of the settings, for example 08:00-18:00",
    )
    batches: bool = Field(
        default=False, description="use the provider's batch API: half the price, an answer within a day"
    )
    batch_items: int = Field(
        default=1000, ge=1, le=10_000, description="items of one batch of the provider, at most"
    )

    @model_validator(mode="before")
    @classmethod
    def _known_place(cls, data: Any) -> Any:
        """Providers are where they are, and a program is no place."""
        if not isinstance(data, dict) or data.get("url"):
            return data
        backend = str(data.get("backend"))
        if backend == BackendName.COMMAND:
            spec = data.get("command")
            named = (
                spec if isinstance(spec, dict) else spec.model_dump() if isinstance(spec, CommandSpec) else {}
            )
            run = named.get("run")
            program = run[0] if isinstance(run, list) and run else named.get("agent")
            return {**data, "url": f"command://{Path(str(program)).name}"} if program else data
        return {**data, "url": PROVIDER_URLS[backend]} if backend in PROVIDER_URLS else data

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, value: str) -> str:
        if not is_backend(value):
            raise ValueError(f"{value!r} is no backend; use one of {', '.join(backend_names())}")
        return str(value)

    @field_validator("quiet")
    @classmethod
    def _on_the_clock(cls, value: str | None) -> str | None:
        for each in value.split("-") if value else ():
            try:
                time.fromisoformat(each)
            except ValueError as error:
                raise ValueError(f"{each} is no time of day; midnight is 00:00") from error
        if value and len(set(value.split("-"))) == 1:
            raise ValueError(f"{value} has no end; `penstock pause endpoint URL` stops an endpoint for good")
        return value

    @model_validator(mode="after")
    def _described(self) -> Endpoint:
        if self.batches and self.backend in _WITHOUT_BATCHES:
            raise ValueError(f"{self.backend} has no batch API, which batches = true asks for")
        for name in (BackendName.COMMAND, BackendName.POLL):
            if (getattr(self, name) is None) is (self.backend == name):
                wrong = "needs" if self.backend == name else "is not of the backend that has"
                raise ValueError(f"the endpoint {self.url} {wrong} a table [endpoints.{name}]")
        return self

    @property
    def resource(self) -> str:
        """Its name in the database: one server, however its URL was written."""
        return f"{self.backend} {self.url.rstrip('/')}"

    def spec(self, model: str) -> ModelSpec:
        """What is declared of a model; the defaults where nothing is."""
        return self.models.get(model) or ModelSpec()

    def key(self) -> str:
        """The key, "" where none is needed. Raises SettingsError for one that can't be, without showing it."""
        if self.api_key is not None:
            key, where = self.api_key.get_secret_value(), "api_key"
        elif self.api_key_env is not None:
            key, where = os.environ.get(self.api_key_env, ""), f"variable {self.api_key_env}"
            if not key:
                raise SettingsError(f"The {where}, which holds the key of {self.url}, is not set. Set it.")
        else:
            return ""
        if not (key and key.isascii() and key.isprintable() and " " not in key):
            raise SettingsError(
                f"The {where} of {self.url} is empty or has blanks, line breaks or non-ASCII characters. "
                "Copy it again without them."
            )
        return key
