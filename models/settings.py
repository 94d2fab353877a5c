"""Settings: environment variables (`PENSTOCK_...`), then `penstock.toml`, then the defaults below.

`penstock.toml` is looked for at PENSTOCK_CONFIG, then in the working directory, then in PENSTOCK_HOME.
Nested values are written `PENSTOCK_LIMITS__OLLAMA=2`. Secrets are `SecretStr`: they print as stars.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as SourceNotParsed

from models.endpoint import Budget, Device, Endpoint
from models.enums import BackendName
from models.errors import SettingsError
from models.plugins import backend_names, is_backend

__all__ = ["DEFAULT_URLS", "NOT_SETTINGS", "Endpoint", "Settings", "config_file", "default_home", "settings"]

DEFAULT_URLS: dict[str, str] = {
    BackendName.OLLAMA: "http://127.0.0.1:11434",
    BackendName.OPENAI: "http://127.0.0.1:8000/v1",  # vLLM's usual port
    BackendName.MLX: "http://127.0.0.1:8080/v1",  # mlx_lm.server and llama-server
}
"""Where `backend: auto` looks: each kind of server on its usual port, on this machine only."""

NOT_SETTINGS = frozenset({"PENSTOCK_CONFIG", "PENSTOCK_FOLDER", "PENSTOCK_PARENT_PID", "PENSTOCK_RUNS_LOG"})
"""Variables of ours that are no settings: where penstock.toml is, and what `penstock up` tells its children."""


def default_home() -> Path:
    """The per-user folder for the embedded database, logs and recipes.

    Root's own home is closed to the unprivileged user that Postgres must run as, so root gets /var/lib.
    """
    if given := os.environ.get("PENSTOCK_HOME"):
        return Path(given).expanduser().absolute()
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/penstock")
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "penstock"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_", env_nested_delimiter="__", extra="forbid", env_ignore_empty=True
    )

    home: Path = Field(default_factory=default_home)
    database_url: SecretStr | None = Field(
        default=None, description="any Postgres >= 15 with pgvector; None: embedded"
    )
    backend: str = Field(default="auto", description="auto, or one of the backends")
    endpoints: list[Endpoint] = Field(default_factory=list)
    devices: list[Device] = Field(default_factory=list)
    budgets: list[Budget] = Field(default_factory=list)
    spill: dict[str, str] = Field(
        default_factory=dict,
        description="backend = another that takes its work when none of its endpoints can be used; none by default",
    )
    limits: dict[str, int] = Field(
        default_factory=dict, description="work pool limit per backend; default: its endpoints"
    )

    max_wait: float = Field(
        default=900.0,
        gt=0,
        description="seconds after which work goes before what its model's load would save",
    )
    deadline_lead: float = Field(
        default=86400.0, ge=0, description="seconds before its deadline at which an item goes first"
    )
    interactive_share: float = Field(
        default=0.25, ge=0, lt=1, description="of an endpoint's slots, kept free while interactive items come"
    )
    breaker_failures: int = Field(
        default=3, ge=1, description="failures in a row after which an endpoint's model is left alone"
    )
    breaker_seconds: float = Field(default=300.0, gt=0, description="for how long; then one drain tries once")
    watch_host: bool = Field(
        default=True,
        description="ask a server on this machine for less while its memory or processors are over their limits",
    )
    strike_after: int = Field(
        default=20,
        ge=1,
        description="answers in a row, of different items, that are not accepted: the recipe stops for that model",
    )

    routing: bool = Field(
        default=True,
        description="of a recipe's `models` the one that has done best is asked; False: the first of them",
    )
    routing_explore: float = Field(
        default=0.1, ge=0, le=1, description="of a recipe's items, at most, that others of its `models` get"
    )
    routing_time: float = Field(
        default=0.1, ge=0, le=10, description="how much a model's time weighs beside its success; 0: nothing"
    )
    routing_cost: float = Field(
        default=0.1, ge=0, le=10, description="how much what it costs weighs beside its success; 0: nothing"
    )

    max_attempts: int = Field(default=3, ge=1)
    retry_delay: float = Field(
        default=90.0, ge=0, description="seconds before the first retry; doubles, jittered"
    )
    retry_delay_cap: float = Field(default=900.0, ge=0)
    give_up_after: float | None = Field(
        default=None, gt=0, description="seconds since its first try, after which an item is not tried again"
    )
    batch_size: int = Field(
        default=4096, ge=1, le=4096, description="items that a drain has claimed and not written, at most"
    )
    batch_seconds: float = Field(
        default=5.0,
        ge=0,
        description="how long what is claimed takes: batches are as large as that; 0: as large as they may be",
    )
    heartbeat: float = Field(default=15.0, gt=0, description="seconds; a lease lapses after 3 missed beats")

    split_above: int = Field(
        default=5, ge=0, le=10, description="items of a higher complexity are split; 0 or off: none"
    )
    split_parts: int = Field(default=8, ge=2, le=50, description="parts that a model is asked for, at most")
    approve_plans: bool = Field(
        default=False, description="a person approves each split before parts of it run"
    )
    rollup: bool | Literal["split"] = Field(
        default=True,
        description="an item whose parts are done gets a synthesis; split: only where Penstock made the parts",
    )

    write_back: bool = Field(default=False, description="a run brings the marks of boards' files in step")
    write_back_note: bool = Field(default=False, description="and puts a comment behind each mark it changes")

    duplicate_days: int = Field(
        default=30, ge=0, le=3650, description="days in which the same work is not done twice; 0: it may be"
    )

    cache_days: int = Field(
        default=30,
        ge=0,
        le=3650,
        description="days in which an accepted answer to the very same request is used again; 0: each is asked",
    )

    max_source_bytes: int = Field(default=20 * 1024 * 1024, ge=1)

    host: str = "127.0.0.1"
    port: int = Field(default=4270, ge=1, le=65535, description="the HTTP door of `penstock up`")
    prefect_port: int = Field(
        default=4280, ge=0, le=65535, description="the Prefect server of `penstock up`; 0: any free port"
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="signs webhooks, and the HTTP door's token; None: made and kept in PENSTOCK_HOME",
    )
    sources: list[Path] = Field(
        default_factory=list,
        description="folders whose boards the HTTP door may read; empty: the folder `penstock up` was started in",
    )
    prefect_api_url: str | None = Field(
        default=None, description="a Prefect server of your own (.../api); None: one is started here"
    )
    prefect_api_auth: SecretStr | None = Field(default=None, description="user:password of that server")
    cpu_limit: int | None = Field(default=None, ge=1, description="runs at once on pool cpu; None: the cores")
    drain_interval: float = Field(
        default=5.0, gt=0, description="seconds between looks for ready items that no drain works on"
    )
    upkeep_interval: float = Field(
        default=60.0,
        gt=0,
        description="seconds between looks for runs whose process died and slots nobody holds",
    )

    nightly_cron: str = "30 2 * * *"
    timezone: str = "UTC"
    docs_repo: Path | None = Field(default=None, description="the repository that doc_sync reads nightly")

    @field_validator("split_above", mode="before")
    @classmethod
    def _off_is_none(cls, value: object) -> object:
        return 0 if value is False or str(value).strip().lower() in ("off", "false", "no") else value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is no IANA time zone; write for example 'Europe/Berlin'") from error
        return value

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, value: str) -> str:
        if value != "auto" and not is_backend(value):
            raise ValueError(f"{value!r} is no backend; use one of auto, {', '.join(backend_names())}")
        return value

    @field_validator("spill")
    @classmethod
    def _known_spill(cls, value: dict[str, str]) -> dict[str, str]:
        for name in (*value, *value.values()):
            if not is_backend(name):
                raise ValueError(f"{name!r} is no backend; use one of {', '.join(backend_names())}")
        return value

    @model_validator(mode="after")
    def _known_devices(self) -> Settings:
        names = [device.name for device in self.devices]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the device {name!r} is declared twice")
        for endpoint in self.endpoints:
            if endpoint.device is not None and endpoint.device not in names:
                known = ", ".join(names) or "none is declared"
                raise ValueError(
                    f"the endpoint {endpoint.url} is on the device {endpoint.device!r}; declare it under "
                    f"[[devices]] (there: {known})"
                )
        accounts = {endpoint.account or endpoint.resource for endpoint in self.endpoints}
        for budget in self.budgets:
            if budget.account not in accounts:
                raise ValueError(f"no endpoint has the account {budget.account!r} of a budget")
        return self

    @field_validator("limits")
    @classmethod
    def _known_limits(cls, value: dict[str, int]) -> dict[str, int]:
        for name, limit in value.items():
            if not is_backend(name):
                raise ValueError(f"{name!r} is no backend; use one of {', '.join(backend_names())}")
            if limit < 1:
                raise ValueError(f"the limit of {name} is {limit}; it must be at least 1")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, toml_file=config_file()),
        )

    def with_backend(self, backend: str) -> Settings:
        """The same settings with another backend. Raises SettingsError for one that is not known."""
        try:
            self._known_backend(backend)
        except ValueError as error:
            raise SettingsError(f"{error}.") from None
        return self.model_copy(update={"backend": backend})

    def device(self, endpoint: Endpoint) -> Device:
        """The device of an endpoint: as declared, else one of its own with the endpoint's slots."""
        for device in self.devices:
            if device.name == endpoint.device:
                return device
        return Device(name=endpoint.resource, slots=endpoint.slots)

    def shared(self, endpoint: Endpoint) -> bool:
        """Whether its device may be used by other endpoints, too."""
        return endpoint.device is not None

    def budget(self, endpoint: Endpoint) -> Budget:
        """The budget of its account; one without limits where none is declared."""
        account = endpoint.account or endpoint.resource
        for budget in self.budgets:
            if budget.account == account:
                return budget
        return Budget(account=account)

    def pool_limit(self, backend: str) -> int:
        """Drains that may run at once on a backend's pool: its setting, else its number of endpoints, at least 1."""
        if backend in self.limits:
            return self.limits[backend]
        return max(1, sum(endpoint.backend == backend for endpoint in self.endpoints))


def config_file() -> Path | None:
    """The penstock.toml that is read; None: there is none. Raises SettingsError where PENSTOCK_CONFIG is no file."""
    if given := os.environ.get("PENSTOCK_CONFIG"):
        if not Path(given).is_file():
            raise SettingsError(
                f"PENSTOCK_CONFIG names {given!r}, which is no file. Correct the path, or unset it."
            )
        return Path(given)
    for folder in (Path.cwd(), default_home()):
        if (path := folder / "penstock.toml").is_file():
            return path
    return None


def _check_variables() -> None:
    """A misspelt variable would be ignored, and the default used in its place without a word."""
    known = {f"PENSTOCK_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    unknown = sorted(
        name for name in os.environ if name.startswith("PENSTOCK_") and name.partition("__")[0] not in known
    )
    if unknown:
        likely = difflib.get_close_matches(unknown[0], known, 1)
        hint = f"did you mean {likely[0]}?" if likely else "unset it."
        raise SettingsError(f"No setting is called {', '.join(unknown)}; {hint}")


@cache
def settings() -> Settings:
    """The process's settings, read once. Raises SettingsError with every wrong value named."""
    file = config_file()
    _check_variables()
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'settings'}: {_words(problem['msg'])}"
            for problem in error.errors(include_input=False)
        )
        correct = f"Correct the PENSTOCK_ variable or {file}." if file else "Correct the PENSTOCK_ variable."
        raise SettingsError(f"The settings can't be used: {problems}. {correct}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is no TOML: {error}. Correct that line.") from None
    except OSError as error:
        raise SettingsError(f"{file} can't be read: {error.strerror}. Check its permissions.") from None
    except SourceNotParsed as error:
        # The value is not shown: it may hold a key.
        field = re.search(r'field "(\w+)"', str(error))
        raise SettingsError(
            f"PENSTOCK_{field[1].upper() if field else '...'} is no JSON. Lists and tables are written as JSON in a "
            f"variable, or as TOML in penstock.toml."
        ) from None


def _words(message: str) -> str:
    plain = message.removeprefix("Value error, ")
    return "there is no such setting" if plain == "Extra inputs are not permitted" else plain
