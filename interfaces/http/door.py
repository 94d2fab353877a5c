"""What the routes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import Depends, Request, Response
from pydantic import SecretStr

from interfaces.http import signatures
from models.settings import Settings
from sql.connection import Database

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

__all__ = ["Authorised", "Door", "TheDoor", "json"]


@dataclass
class Door:
    """What the routes share: `request.app.state.door`."""

    settings: Settings
    database: Database
    secret: SecretStr
    clock: Callable[[], float]
    prefect: PrefectClient


def _door(request: Request) -> Door:
    found: Door = request.app.state.door
    return found


TheDoor = Annotated[Any, Depends(_door)]
"""The `Door`; not by its type, which FastAPI would take for a model of the request."""


def _authorised(request: Request, door: TheDoor) -> None:
    signatures.bearer(request.headers, door.secret)


Authorised = Depends(_authorised)


def json(content: Any, status: int = 200) -> Response:
    """An answer by orjson: dates, dataclasses and paths as they are."""
    return Response(orjson.dumps(content, default=str), status, media_type="application/json")
