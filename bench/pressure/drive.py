"""A drain in this process, over items that are stored already, with a note of each request it sends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from backends.registry import make
from models.calls import Backend, ModelAnswer, ModelRequest
from models.settings import Endpoint, Settings
from sql.connection import Database


@dataclass(slots=True)
class Sent:
    """What a watched backend was asked, in its order."""

    requests: list[ModelRequest] = field(default_factory=list)
    at: dict[int, float] = field(
        default_factory=dict
    )  # by item: when its first request was sent, as time.time()


def watched(endpoint: Endpoint) -> tuple[Backend, Sent]:
    """The endpoint's backend; it notes what it is asked and does nothing else differently."""
    backend, sent = make(endpoint), Sent()
    answer = backend.answer

    async def noted(request: ModelRequest, deadline: float) -> ModelAnswer:
        sent.requests.append(request)
        sent.at.setdefault(request.item_id, time.time())
        return await answer(request, deadline)

    backend.answer = noted  # type: ignore[method-assign]
    return backend, sent


async def drained(
    db: Database, config: Settings, endpoint: Endpoint, backend: Backend, boards: Sequence[int]
) -> int:
    """Drain these boards' items of the recipe `bench`. Gives how many were accepted."""
    from flows.execute import stages
    from interfaces.cli.quiet import quiet_prefect
    from tasks.execute import Seat, drain_any
    from tasks.recipes import load_recipes

    quiet_prefect(config.home)
    recipes = {"bench": load_recipes(config)["bench"]}
    tally = await drain_any(
        db,
        [Seat(backend, endpoint, endpoint.model or "", stages(endpoint.context_tokens, recipes))],
        recipes=recipes,
        settings=config,
        trace_id="bench",
        boards=boards,
    )
    return tally.accepted
