"""Spill: another backend takes a backend's work by policy alone, while it can't, and gives it back."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Mapping, Sequence

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.simulator import inside
from models.endpoint import Budget, Endpoint
from models.errors import BackendUnavailable, SettingsError
from models.recipe import Recipe, RecipeHeader
from models.settings import Settings
from sql.connection import Database
from tasks.execute.budget import today
from tasks.spill import allows, first_usable, kept, line, take, usable
from tasks.upkeep import Wanted, wanted_drains
from tests.upkeep.test_upkeep import board, item, lease

NAMES = ["ollama", "openai", "mlx", "anthropic", "extractive"]
POLICIES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(NAMES))


@given(st.sampled_from(NAMES), POLICIES)
def test_a_line_follows_the_policy_and_never_runs_in_a_ring(wanted: str, policy: dict[str, str]) -> None:
    found = line(wanted, policy)
    assert found[0] == wanted
    assert len(set(found)) == len(found)
    assert [policy[name] for name in found[:-1]] == found[1:]
    assert policy.get(found[-1]) in (None, *found)


@given(st.sampled_from(NAMES), POLICIES, st.sets(st.sampled_from(NAMES)))
def test_the_first_that_can_takes_the_work_and_nobody_behind_it_is_asked(
    wanted: str, policy: dict[str, str], down: set[str]
) -> None:
    asked = []

    async def obstacle(name: str) -> str | None:
        asked.append(name)
        return f"{name} is down" if name in down else None

    backends = line(wanted, policy)
    taken, reasons = asyncio.run(first_usable(backends, obstacle))
    up = [name for name in backends if name not in down]
    assert taken == (up[0] if up else None)
    before = backends[: backends.index(taken)] if taken else backends
    assert reasons == [f"{name} is down" for name in before]
    assert asked == [*before, *([taken] if taken else [])]


def recipe(name: str, backends: list[str] | None, fallback: str | None = None) -> Recipe:
    header = RecipeHeader(name=name, about="a test", backends=backends or [], fallback=fallback)
    return Recipe(header, "", "", "", name, f"{name}.md")


def test_what_the_other_may_not_do_waits_and_does_not_fall_back() -> None:
    recipes = {
        "free": recipe("free", None, "other"),
        "bound": recipe("bound", ["ollama"], "other"),
        "other": recipe("other", ["extractive"]),
    }
    found = kept(recipes, "extractive")
    assert {name: each.header.fallback for name, each in found.items()} == {
        "free": "other",
        "bound": None,
        "other": None,
    }
    assert found["free"] is recipes["free"]
    assert [allows(recipes.get(name), "extractive") for name in ("free", "bound", "other", "gone")] == [
        True,
        False,
        True,
        True,
    ]


def nowhere() -> str:
    """A URL on this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def configured(url: str, spill: Mapping[str, str], budgets: Sequence[Budget] = ()) -> Settings:
    endpoint = Endpoint(backend="ollama", url=url, model="sim:small", account="paid")
    return Settings(backend="ollama", endpoints=[endpoint], spill=dict(spill), budgets=list(budgets))


async def test_only_the_policy_lets_another_take_it() -> None:
    down = nowhere()
    for policy in ({}, {"openai": "extractive"}):
        with pytest.raises(BackendUnavailable, match="No ollama server can be used"):
            await take(configured(down, policy), "ollama")
    taken = await take(configured(down, {"ollama": "extractive"}), "ollama")
    assert (taken.wanted, taken.backend) == ("ollama", "extractive")
    assert taken.endpoints[0][0].backend == "extractive"
    assert taken.sentence.startswith(
        "ollama can't be used, so extractive takes its work, as the setting spill says. No ollama server"
    )
    # In a line, and never in a ring.
    chain = configured(down, {"ollama": "openai", "openai": "extractive"})
    chain.endpoints.append(Endpoint(backend="openai", url=nowhere()))
    assert (await take(chain, "ollama")).backend == "extractive"
    ring = configured(down, {"ollama": "openai", "openai": "ollama"})
    ring.endpoints.append(chain.endpoints[-1])
    with pytest.raises(BackendUnavailable, match="No ollama server"):
        await take(ring, "ollama")


async def test_a_wrong_description_is_said_and_not_spilled() -> None:
    async with inside() as simulator:
        wrong = configured(simulator.url, {"ollama": "extractive"})
        wrong.endpoints[0].model = "no-such-model"
        with pytest.raises(SettingsError, match="does not have the model"):
            await take(wrong, "ollama")


async def test_an_open_breaker_and_a_budget_that_is_used_up_spill(database: Database) -> None:
    connection = await database.aconnect(autocommit=True)
    async with inside() as simulator, connection:
        settings = configured(
            simulator.url,
            {"ollama": "extractive"},
            budgets=[Budget(account="paid", tokens_per_day=10_000)],
        )

        async def takes(config: Settings = settings) -> str:
            return (await take(config, "ollama", connection)).backend

        async def breaker(seconds: int) -> None:
            await connection.execute(
                "insert into model_state (resource, model, failures, open_until, error)"
                " values (%s, 'sim:small', 3, now() + %s * interval '1 second', 'it was down')"
                " on conflict (resource, model) do update set open_until = excluded.open_until",
                [settings.endpoints[0].resource, seconds],
            )

        assert await takes() == "ollama"
        await breaker(60)
        with pytest.raises(BackendUnavailable, match=r"left alone for \d+ s after failures \(it was down\)"):
            await usable(settings, "ollama", connection)
        assert await takes() == "extractive"
        assert (await take(settings, "ollama")).backend == "ollama"  # without a database: who answers
        assert (await take(settings, "auto", connection)).backend == "extractive"
        # Without a policy whoever drains it waits for the breaker, as ever; so where nobody in line can.
        assert await takes(settings.model_copy(update={"spill": {}})) == "ollama"
        assert await takes(settings.model_copy(update={"spill": {"ollama": "mlx"}})) == "ollama"
        await breaker(0)
        assert await takes() == "ollama"  # its time is up: one may try

        await connection.execute("insert into account (name) values ('paid')")
        spend = "insert into spend (account, day, requests, tokens) values ('paid', %s, 10, %s)"
        await connection.execute(spend, [today("UTC"), 8_000])
        assert await takes() == "ollama"  # one like today's (800 and an answer) fits
        await connection.execute("update spend set tokens = 8300")
        assert await takes() == "extractive"
        with pytest.raises(BackendUnavailable, match="has used 8,300 of 10,000 tokens a day"):
            await usable(settings, "ollama", connection)


async def wanted(
    connection: psycopg.AsyncConnection, settings: Settings, recipes: Mapping[str, Recipe] | None = None
) -> list[tuple[str, int, tuple[int, ...], bool]]:
    found = await wanted_drains(connection, settings, recipes or {})
    return [(each.backend, each.items, each.boards, bool(each.spilled)) for each in found]


async def test_the_work_of_a_backend_that_is_away_goes_to_the_other_and_back(database: Database) -> None:
    connection = await database.aconnect(autocommit=True)
    async with connection:
        here, named = await board(connection, run="ollama"), await board(connection, run="ollama")
        for _ in range(3):
            await item(connection, here)
        await item(connection, named, "ollama")
        down = configured(nowhere(), {"ollama": "extractive"})
        # An item that names its backend itself stays with it.
        assert await wanted(connection, down) == [
            ("extractive", 3, (here,), True),
            ("ollama", 1, (named,), False),
        ]
        (first, _) = await wanted_drains(connection, down, {})
        assert "ollama can't be used, so extractive takes its work" in first.spilled
        assert await wanted(connection, configured(nowhere(), {})) == [("ollama", 4, (here, named), False)]
        # While the other one is at work there is nothing to start.
        await lease(connection, "extractive", 30)
        assert await wanted(connection, down) == [("ollama", 1, (named,), False)]
        await lease(connection, "extractive", -1)
        async with inside() as simulator:
            up = configured(simulator.url, {"ollama": "extractive"})
            assert await wanted(connection, up) == [("ollama", 4, (here, named), False)]
        # A run that was spilled itself: what it left goes to the backend that was wanted.
        await connection.execute(
            "insert into run (id, board_ids, backend, params, started_at)"
            """ values (%s, %s, 'extractive', '{"spilled_from": "ollama"}', now() + interval '1 second')""",
            [uuid.uuid4(), [here]],
        )
        async with inside() as simulator:
            up = configured(simulator.url, {"ollama": "extractive"})
            assert await wanted_drains(connection, up, {}) == [Wanted("ollama", 4)]


async def test_a_recipe_that_the_other_may_not_do_keeps_its_items(database: Database) -> None:
    connection = await database.aconnect(autocommit=True)
    async with connection:
        here = await board(connection, run="ollama")
        await item(connection, here)  # of the recipe `answer`
        down = configured(nowhere(), {"ollama": "extractive"})
        bound = {"answer": recipe("answer", ["ollama"], "other"), "other": recipe("other", None)}
        assert await wanted(connection, down, bound) == [("ollama", 1, (here,), False)]
        free = {"answer": recipe("answer", ["ollama", "extractive"])}
        assert await wanted(connection, down, free) == [("extractive", 1, (here,), True)]
