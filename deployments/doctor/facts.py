"""What the doctor has seen, and what it says. No check asks anything itself: it reads these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from models.calls import ModelInfo, Probe
from models.endpoint import Endpoint
from models.enums import BackendName, ErrorType, Severity
from models.settings import Settings

SERVED_HERE = frozenset({BackendName.OLLAMA, BackendName.OPENAI, BackendName.MLX})
"""Kinds that take a GPU of the machine that their URL names; the others are somebody else's machine, or none."""


class Road(StrEnum):
    """How far a bare connection to an endpoint came."""

    OPEN = "open"
    REFUSED = "refused"  # the machine is there, and nothing listens on that port
    SILENT = "silent"  # off, or behind a firewall
    NO_ROUTE = "no_route"
    UNKNOWN_HOST = "unknown_host"


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong or odd: where, what was seen, what to do."""

    code: str
    severity: Severity
    place: str  # an endpoint's name in the database, a device, a setting ...
    what: str  # sentences
    do: str

    def line(self) -> str:
        return f"{self.severity} {self.place}: {self.what} {self.do}"


@dataclass(frozen=True)
class Asked:
    """What came of a real question of one token to an endpoint's model."""

    model: str
    seconds: float
    first_seconds: float | None = None
    load_seconds: float | None = None
    error: str = ""
    error_type: ErrorType | None = None


@dataclass(frozen=True)
class Seen:
    """One endpoint as it is declared, or as it is on its usual port, and what answered there."""

    endpoint: Endpoint
    declared: bool
    probe: Probe
    unusable: str = ""  # why it can't be used as it is written; it was not asked then
    key_missing: bool = False  # because the variable that holds its key is not there
    road: Road | None = None  # None: its URL is no place in the network
    machine: str = ""  # which one it runs on: the same word for all that run on the same one; "": none
    address: str = ""  # one of its host's
    others: tuple[Endpoint, ...] = ()  # as what the server there answers, besides or instead
    asked: Asked | None = None

    @property
    def place(self) -> str:
        return self.endpoint.resource

    @property
    def model(self) -> ModelInfo | None:
        """What it knows of the model that it would be asked for."""
        from backends.replies import same_model

        wanted = self.endpoint.model
        for each in self.probe.models:
            if same_model(wanted, each.name) if wanted is not None else chats(each):
                return each
        return None


@dataclass(frozen=True)
class House:
    """The rest of the installation."""

    database: str = ""  # what is wrong with it, as the error says it
    database_place: str = "embedded, not running; it runs while something of Penstock does"
    skew: float | None = None  # seconds that the database's clock is ahead of this machine's; None: not asked
    prefect: str = ""  # what is wrong with it
    home: str = ""
    home_problem: str = ""  # why it can't be written to
    free: int | None = None  # bytes
    config: str = ""  # the settings' file
    config_open: bool = False  # others can read it
    offset_here: float = 0.0  # hours that this machine's clock is ahead of UTC
    offset_settings: float = 0.0


@dataclass(frozen=True)
class Facts:
    settings: Settings
    seen: tuple[Seen, ...]
    listening: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """TCP ports of this machine that listen not to itself alone, with the addresses they listen on."""
    house: House = field(default_factory=House)

    @property
    def declared(self) -> list[Seen]:
        return [each for each in self.seen if each.declared]


@dataclass(frozen=True)
class Diagnosis:
    facts: Facts
    troubles: tuple[Trouble, ...]

    def count(self, severity: Severity) -> int:
        return sum(each.severity is severity for each in self.troubles)

    def as_json(self) -> dict[str, Any]:
        """Ready for orjson."""
        return {
            "findings": [asdict(each) for each in self.troubles],
            "endpoints": [
                {
                    "endpoint": each.place,
                    "backend": each.endpoint.backend,
                    "url": each.endpoint.url,
                    "declared": each.declared,
                    "device": each.endpoint.device,
                    "road": each.road,
                    "probe": asdict(each.probe),
                    "asked": asdict(each.asked) if each.asked is not None else None,
                }
                for each in self.facts.seen
            ],
            "listening": self.facts.listening,
            "house": asdict(self.facts.house),
        }


def chats(model: ModelInfo) -> bool:
    return not model.embedding and "embed" not in model.name.lower()
