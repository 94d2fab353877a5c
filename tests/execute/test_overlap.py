"""While a batch is written the next one is claimed behind it, and never before it: two halves, at no time three."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from models.enums import ErrorType, Status
from models.recipe import Recipe
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from tasks.execute import Tally
from tasks.execute.store import Store

from .conftest import STAGES, InProcess, World, answered, recipe


class Watched:
    """Writes down when batches are claimed and written, and how many items are claimed and not written."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch, *, fails: bool = False) -> None:
        self.events: list[str] = []
        self.most = 0
        self.told = 0  # batches whose turn somebody wanted to know of
        self.failures = int(fails)
        settle, claim = Store.settle, Store.claim

        async def settled(store: Store, *arguments: Any, on_turn: Any = None, **others: Any) -> Tally:
            self.told += on_turn is not None

            def turn() -> None:
                self.events.append("turn")
                if on_turn is not None:
                    on_turn()
                if self.failures and on_turn is not None:
                    self.failures -= 1
                    raise psycopg.errors.DeadlockDetected("two that wait for each other")

            tally = await settle(store, *arguments, on_turn=turn, **others)
            self.events.append("written")
            return tally

        async def claimed(*arguments: Any) -> Any:
            self.events.append("asks")
            batch = await claim(*arguments)
            self.most = max(self.most, world.statuses().get(Status.RUNNING, 0))
            return batch

        patch.setattr(Store, "settle", settled)
        patch.setattr(Store, "claim", claimed)

    def asks_between_turn_and_written(self) -> bool:
        writing = False
        for event in self.events:
            writing = event == "turn" or (writing and event != "written")
            if writing and event == "asks":
                return True
        return False


async def test_the_next_batch_is_claimed_right_behind_one_that_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(64)
    watched = Watched(world, monkeypatch)
    tally = await world.drain(InProcess(answered))
    assert tally.accepted == 64
    assert watched.told == tally.batches
    assert watched.asks_between_turn_and_written()
    assert watched.most <= world.settings.batch_size


async def test_a_batch_that_could_not_be_written_yet_counts_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn had come, and somebody asked for a claim behind it; then it has to be written once more."""
    world.add(64)
    watched = Watched(world, monkeypatch, fails=True)
    tally = await world.drain(InProcess(answered))
    assert watched.failures == 0
    assert (tally.accepted, tally.ignored) == (64, 0)
    assert watched.most <= world.settings.batch_size


async def test_after_a_batch_in_which_nothing_went_well_nothing_is_claimed_before_its_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(64)
    watched = Watched(world, monkeypatch)

    async def refused(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        failure = Failure("rules", "suite", ErrorType.RULE, "not good enough")
        return BatchVerdict({row.item_id: Verdict(row.item_id, (failure,), "") for row in rows}, {})

    stages = replace(STAGES, validate=refused)
    await world.drain(InProcess(answered), recipe(max_attempts=1), stages=stages)
    assert "turn" in watched.events
    assert watched.told == 0
    assert watched.most <= world.settings.batch_size
