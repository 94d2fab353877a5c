"""Items sent as a provider's batch: each is answered and settled once, whatever dies in between."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backends.registry import make
from backends.simulator import Simulator, running
from backends.testing import eventually
from models.calls import (
    Batches,
    BatchReply,
    BatchState,
    BatchStatus,
    HasBatches,
    ModelAnswer,
    ModelCallError,
    ModelRequest,
)
from models.endpoint import Endpoint
from models.enums import BackendName, ErrorType, Status
from models.errors import BackendUnavailable, LeaseLost
from models.recipe import Rendered
from sql.statements import statement
from tasks.execute.provider_batch import Waits
from tasks.execute.provider_rows import open_batches, resources
from tasks.execute.work import Batch, Tally

from .conftest import World
from .provider_drain import PASSAGE, drain

KINDS = [BackendName.ANTHROPIC, BackendName.GEMINI, BackendName.OPENAI]
PATHS = {BackendName.ANTHROPIC: "", BackendName.GEMINI: "/v1beta", BackendName.OPENAI: "/v1"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def provider_process() -> Iterator[Simulator]:
    with running(batch_seconds=0.1) as simulator:
        yield simulator


@pytest.fixture(params=KINDS)
def endpoint(request: pytest.FixtureRequest, provider: Simulator) -> Endpoint:
    url = provider.url + PATHS[request.param]
    return Endpoint(backend=request.param, url=url, batches=True, batch_items=10)


@pytest.fixture
def provider(provider_process: Simulator) -> Simulator:
    provider_process.reset()
    return provider_process


async def drained(world: World, endpoint: Endpoint, **options: Any) -> Tally:
    backend = make(endpoint)
    assert isinstance(backend, HasBatches)
    try:
        return await drain(world.database, endpoint, backend.batches, **options)
    finally:
        await backend.close()


def each_once(world: World, count: int) -> None:
    """Each item was claimed, tried and answered once."""
    assert world.statuses() == {Status.DONE: count}
    assert world.rows("select count(*), count(distinct item_id) from result") == [(count, count)]
    assert world.rows("select outcome, count(*) from attempt group by 1") == [("accepted", count)]
    assert world.rows("select count(*) from provider_batch_item") == [(0,)]
    assert world.rows("select count(*) from provider_batch where closed_at is null") == [(0,)]


# --- with the protocols of the providers --------------------------------------------------------------------


async def test_batches_are_sent_and_settled(world: World, endpoint: Endpoint, provider: Simulator) -> None:
    world.add(25)
    tally = await drained(world, endpoint)
    assert (tally.accepted, tally.batches, tally.simulated) == (25, 3, True)
    each_once(world, 25)
    assert world.rows("select state, size, done from provider_batch order by id") == [
        ("ended", 10, 10),
        ("ended", 10, 10),
        ("ended", 5, 5),
    ]
    stats = provider.stats()
    assert stats["batch"]["requests"] == 25
    assert stats["requests"] == 1, "one question was tried before the first batch"


async def test_members_that_fail_go_into_another_batch(
    world: World, endpoint: Endpoint, provider: Simulator
) -> None:
    world.add(6)
    provider.script(
        ["ok", "ok", "rate_limited", "empty", "hang", "error500"]
    )  # the first: what is tried before
    tally = await drained(world, endpoint)
    assert (tally.accepted, tally.returned, tally.retry) == (6, 3, 1)
    assert world.statuses() == {Status.DONE: 6}
    assert world.rows("select sum(attempts), sum(tries) from item") == [(1, 10)]
    assert provider.stats()["batch"]["requests"] == 10


def child(world: World, endpoint: Endpoint, dies: str) -> subprocess.Popen[bytes]:
    arguments = [world.database.dsn, endpoint.backend, endpoint.url, dies]
    return subprocess.Popen([sys.executable, "-m", "tests.execute.provider_drain", *arguments], cwd=ROOT)


async def until(world: World, query: str, expected: Any, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(60):
        while world.rows(query) != [(expected,)]:
            assert process.poll() is None, f"it ended with {process.returncode}"
            await asyncio.sleep(0.02)


async def test_a_kill_while_batches_are_out_costs_nothing(
    world: World, endpoint: Endpoint, provider: Simulator
) -> None:
    """Another process goes on by the stored ids; nothing is sent again."""
    ids = world.add(25)
    first = child(world, endpoint, "never")
    await until(world, "select count(*) from provider_batch where provider_id is not null", 3, first)
    first.send_signal(signal.SIGKILL)
    first.wait(20)
    asked: dict[int, tuple[str, Rendered]] = {}

    async def seen(batch: Batch, rendered: Sequence[Rendered], replies: Sequence[BatchReply]) -> None:
        asked.update({i.id: (i.title, prompt) for i, prompt in zip(batch.items, rendered, strict=True)})

    tally = await drained(world, endpoint, seen=seen)
    assert tally.accepted == 25
    each_once(world, 25)
    assert world.rows("select distinct tries, attempts from item") == [(1, 0)]
    assert provider.stats()["batch"]["requests"] == 25
    assert sorted(asked) == ids
    title, rendered = asked[ids[0]]
    assert title == f"item {ids[0]}"
    assert (rendered.prompt_hash, rendered.passages) == (f"prompt-{ids[0]}", (PASSAGE,))


async def test_a_kill_between_sending_and_keeping_the_id(
    world: World, endpoint: Endpoint, provider: Simulator
) -> None:
    """The batch is found by its label: nothing is paid for twice."""
    world.add(8)
    first = child(world, endpoint, "after")
    assert first.wait(60) == -signal.SIGKILL
    assert world.rows("select provider_id, state from provider_batch") == [(None, "sending")]
    tally = await drained(world, endpoint)
    assert tally.accepted == 8
    each_once(world, 8)
    assert provider.stats()["batch"]["requests"] == 8
    assert world.rows("select state from provider_batch") == [("ended",)]


async def test_a_kill_before_sending(
    world: World, endpoint: Endpoint, provider: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The provider has no such batch: its items are sent anew, and the log says what that may cost."""
    world.add(8)
    first = child(world, endpoint, "before")
    assert first.wait(60) == -signal.SIGKILL
    with caplog.at_level(logging.WARNING):
        tally = await drained(world, endpoint)
    assert "its 8 items are sent anew" in caplog.text
    assert "paid for twice" in caplog.text
    assert tally.accepted == 8
    each_once(world, 8)
    assert provider.stats()["batch"]["requests"] == 8
    assert world.rows("select state from provider_batch order by id") == [("lost",), ("ended",)]


# --- with a provider in this process ------------------------------------------------------------------------

HERE = Endpoint(backend="openai", url="test://here", batches=True, batch_items=10)


class Provider:
    """Batches that end when they are told to; what goes wrong is what a test puts into it."""

    most_requests = 1000
    most_bytes = 1_000_000

    def __init__(self) -> None:
        self.sent: dict[str, list[ModelRequest]] = {}
        self.labels: dict[str, str] = {}
        self.asked: list[int] = []
        self.cancelled: list[str] = []
        self.states: list[BatchState | ModelCallError] = []  # of the next polls; then all have ended
        self.refusals: list[ModelCallError] = []  # of the next submits
        self.lost: list[ModelCallError] = []  # of the next submits, which arrive all the same
        self.rehearsals: list[ModelCallError] = []
        self.downloads: list[ModelCallError] = []
        self.polls = 0
        self.at_submit: list[Any] = []  # called while a batch is sent

    def weigh(self, request: ModelRequest) -> int:
        return len(request.prompt)

    async def rehearse(self, request: ModelRequest, deadline: float) -> None:
        if self.rehearsals:
            raise self.rehearsals.pop(0)

    async def submit(self, requests: Sequence[ModelRequest], deadline: float, *, label: str) -> str:
        if self.refusals:
            raise self.refusals.pop(0)
        id = f"b{len(self.sent)}"
        self.sent[id], self.labels[id] = list(requests), label
        self.asked += [request.item_id for request in requests]
        if self.at_submit:
            await self.at_submit.pop(0)()
        if self.lost:
            raise self.lost.pop(0)
        return id

    async def poll(self, id: str, deadline: float) -> BatchState:
        self.polls += 1
        state = self.states.pop(0) if self.states else BatchState(BatchStatus.ENDED)
        if isinstance(state, ModelCallError):
            raise state
        return state

    async def results(
        self, id: str, requests: Sequence[ModelRequest], deadline: float, *, label: str
    ) -> list[tuple[int, BatchReply]]:
        if self.downloads:
            raise self.downloads.pop(0)
        assert label == self.labels[id]
        assert {each.item_id for each in requests} <= {each.item_id for each in self.sent[id]}
        return [
            (each.item_id, ModelAnswer(f"answer to {each.item_id}", each.model, "stop", 10, 5))
            for each in requests[::-1]
        ]

    async def cancel(self, id: str, deadline: float) -> None:
        self.cancelled.append(id)

    async def find(
        self, label: str, deadline: float, *, size: int, since: datetime, known: Collection[str] = ()
    ) -> str | None:
        for id, kept in self.labels.items():
            if kept == label:
                assert len(self.sent[id]) == size
                assert id not in known
                return id
        return None


def test_it_is_what_it_stands_for() -> None:
    assert isinstance(Provider(), Batches)


RUNNING = BatchState(BatchStatus.RUNNING, 5, 2)


def broken(kind: ErrorType, retry_after: float | None = None) -> ModelCallError:
    return ModelCallError(kind, f"it is {kind}.", retry_after=retry_after)


async def test_it_is_asked_for_until_it_ends(world: World) -> None:
    world.add(5)
    provider = Provider()
    provider.states = [RUNNING, broken(ErrorType.CONNECTION), broken(ErrorType.AUTH), RUNNING]
    assert (await drain(world.database, HERE, provider)).accepted == 5
    assert provider.polls == 5
    each_once(world, 5)


async def test_a_download_that_breaks_off_is_read_again(world: World) -> None:
    world.add(5)
    provider = Provider()
    provider.downloads = [broken(ErrorType.CONNECTION), broken(ErrorType.SERVER_ERROR)]
    assert (await drain(world.database, HERE, provider)).accepted == 5
    assert len(provider.sent) == 1
    each_once(world, 5)


@pytest.mark.parametrize("kind", [ErrorType.TIMEOUT, ErrorType.CONNECTION, ErrorType.SERVER_ERROR])
async def test_a_sending_that_was_cut_off_may_have_arrived(world: World, kind: ErrorType) -> None:
    world.add(5)
    provider = Provider()
    provider.lost = [broken(kind)]
    assert (await drain(world.database, HERE, provider)).accepted == 5
    assert len(provider.sent) == 1
    each_once(world, 5)


async def test_a_batch_that_fails_costs_no_attempt(world: World) -> None:
    world.add(5)
    provider = Provider()
    provider.states = [BatchState(BatchStatus.FAILED, detail="Enqueued token limit reached.")]
    tally = await drain(world.database, HERE, provider)
    assert (tally.returned, tally.accepted) == (5, 5)
    assert world.rows("select distinct attempts, tries from item") == [(0, 2)]
    assert world.rows("select distinct error from attempt where outcome = 'returned'") == [
        ("The provider's batch failed: Enqueued token limit reached.",)
    ]
    assert world.rows("select state, detail from provider_batch order by id") == [
        ("failed", "Enqueued token limit reached."),
        ("ended", ""),
    ]


@pytest.mark.parametrize("where", ["refusals", "rehearsals"])
async def test_a_provider_that_refuses_is_left(world: World, where: str) -> None:
    world.add(5)
    provider = Provider()
    setattr(provider, where, [broken(ErrorType.AUTH)] * 9)
    with pytest.raises(
        BackendUnavailable, match=r"failed 3 times in a row; the last time: it is auth\. Nothing"
    ):
        await drain(world.database, HERE, provider)
    assert world.statuses() == {Status.READY: 5}
    assert world.rows("select sum(attempts), count(lease) from item") == [(0, 0)]
    assert world.rows("select count(*) from attempt") == [(0,)], "they were not asked"
    assert len(getattr(provider, where)) == 6
    assert (await drain(world.database, HERE, Provider())).accepted == 5


@pytest.mark.parametrize("where", ["refusals", "rehearsals"])
async def test_a_server_without_a_batch_api_is_left_at_once(world: World, where: str) -> None:
    world.add(5)
    provider = Provider()
    setattr(provider, where, [broken(ErrorType.MODEL_MISSING)] * 9)
    with pytest.raises(
        BackendUnavailable, match=r"batches = true asks it for: it is model_missing\. Nothing"
    ):
        await drain(world.database, HERE, provider)
    assert len(getattr(provider, where)) == 8, "it was asked once"
    assert world.statuses() == {Status.READY: 5}
    assert world.rows("select sum(attempts), count(lease) from item") == [(0, 0)]


async def test_while_something_is_out_a_provider_that_refuses_is_waited_for(world: World) -> None:
    world.add(20)
    provider = Provider()

    async def from_now_on() -> None:
        provider.refusals = [broken(ErrorType.OVERLOADED)] * 5

    provider.at_submit = [from_now_on]
    provider.states = [RUNNING] * 30
    assert (await drain(world.database, HERE, provider)).accepted == 20
    each_once(world, 20)


async def test_a_rest_that_is_asked_for_is_kept_and_is_no_refusal(world: World) -> None:
    world.add(2)
    provider = Provider()
    provider.refusals = [broken(ErrorType.RATE_LIMITED, 0.05)] * 5
    started = asyncio.get_running_loop().time()
    assert (await drain(world.database, HERE, provider)).accepted == 2
    assert asyncio.get_running_loop().time() - started >= 5 * 0.05
    each_once(world, 2)


async def test_a_request_that_the_provider_never_takes_is_charged(world: World) -> None:
    world.add(2)
    provider = Provider()
    provider.rehearsals = [broken(ErrorType.MALFORMED)]
    tally = await drain(world.database, HERE, provider)
    assert (tally.retry, tally.accepted) == (2, 2)
    assert world.rows("select distinct attempts from item") == [(1,)]
    provider.refusals = [broken(ErrorType.MALFORMED)]
    more = world.add(2)
    tally = await drain(world.database, HERE, provider)
    assert (tally.returned, tally.accepted) == (2, 2)  # it may be another one's fault
    assert world.rows(f"select distinct attempts from item where id >= {more[0]}") == [(0,)]


async def test_what_is_too_much_goes_back_and_what_never_fits_is_settled_at_once(world: World) -> None:
    ids = world.add(6)
    provider = Provider()
    provider.most_bytes = 200  # two of them
    real = provider.weigh

    def weigh(request: ModelRequest) -> int:
        if request.item_id == ids[0] and len(provider.sent) == 0:
            raise broken(ErrorType.CONTEXT_TOO_LONG)
        return real(request)

    provider.weigh = weigh  # type: ignore[method-assign]
    tally = await drain(world.database, HERE, provider)
    assert (tally.retry, tally.accepted) == (1, 6)
    assert [len(requests) for requests in provider.sent.values()] == [2, 2, 2]
    assert sorted(provider.asked) == ids


async def test_an_item_that_changed_meanwhile_ignores_its_answer(world: World) -> None:
    ids = world.add(4)
    provider = Provider()

    async def change() -> None:
        with world.database.connect() as connection:
            connection.execute("update item set status = 0, lease = null where id = %s", [ids[0]])
            connection.execute("delete from item_source where item_id = %s", [ids[1]])
            connection.execute("delete from item where id = %s", [ids[1]])

    provider.at_submit = [change]
    assert (await drain(world.database, HERE, provider)).accepted == 2
    assert world.statuses() == {Status.PENDING: 1, Status.DONE: 2}
    assert world.rows("select item_id from attempt order by 1") == [(ids[2],), (ids[3],)]
    assert world.rows("select count(*) from provider_batch_item") == [(0,)]


async def test_an_item_that_was_claimed_again_waits_for_its_new_answer(world: World) -> None:
    """By another drain, or by the same: what counts is the claim."""
    (changed, other) = world.add(2)
    provider = Provider()

    async def change() -> None:
        with world.database.connect() as connection:
            connection.execute(
                "update item set status = 1, ready = true, lease = null where id = %s", [changed]
            )

    provider.at_submit = [change]
    provider.states = [RUNNING]
    assert (await drain(world.database, HERE, provider)).accepted == 2
    assert provider.asked == [changed, other, changed]
    assert world.rows("select item_id, number, outcome from attempt order by 1") == [
        (changed, 2, "accepted"),
        (other, 1, "accepted"),
    ]


async def test_at_its_deadline_a_drain_leaves_what_is_out(world: World) -> None:
    world.add(5)
    provider = Provider()
    provider.states = [RUNNING] * 1000
    soon = asyncio.get_running_loop().time() + 0.3
    assert (await drain(world.database, HERE, provider, deadline=soon)).accepted == 0
    assert world.statuses() == {Status.RUNNING: 5}
    assert world.rows("select count(*) from lease") == [(0,)], "its lease is free"
    provider.states = []
    assert (await drain(world.database, HERE, provider)).accepted == 5
    assert len(provider.sent) == 1
    each_once(world, 5)


async def test_who_lost_its_lease_changes_nothing(world: World) -> None:
    """Its batch is taken over while it still waits; both ask for it, and one of them settles it."""
    world.add(5)
    provider = Provider()

    async def lose() -> None:
        with world.database.connect() as connection:
            connection.execute("update lease set expires_at = now() - interval '1 s'")

    provider.at_submit = [lose]
    slow = Waits(first=60, most=60)
    first = asyncio.ensure_future(drain(world.database, HERE, provider, waits=slow, heartbeat=0.1))
    await eventually(
        lambda: bool(world.rows("select 1 from provider_batch where provider_id is not null")),
        "it is sent",
        20,
    )
    second = await drain(world.database, HERE, provider)
    assert second.accepted == 5
    with pytest.raises(LeaseLost):
        await first
    assert len(provider.sent) == 1
    each_once(world, 5)


async def test_a_batch_that_is_not_wanted_any_more_is_cancelled(world: World) -> None:
    """It took so long to send that another drain had given its items back."""
    world.add(3)
    provider = Provider()

    async def meanwhile() -> None:
        with world.database.connect() as connection:
            connection.execute("update item set status = 1, ready = true, lease = null")
            connection.execute("update provider_batch set closed_at = now()")

    provider.at_submit = [meanwhile]
    assert (await drain(world.database, HERE, provider)).accepted == 3
    assert provider.cancelled == ["b0"]
    assert len(provider.sent) == 2


async def test_a_batch_of_a_recipe_that_is_gone_goes_back(world: World) -> None:
    world.add(3)
    provider = Provider()
    provider.states = [RUNNING] * 1000
    soon = asyncio.get_running_loop().time() + 0.2
    await drain(world.database, HERE, provider, deadline=soon)
    past = asyncio.get_running_loop().time() - 1
    await drain(world.database, HERE, provider, recipes=["other"], deadline=past)
    assert world.statuses() == {Status.READY: 3}
    assert world.rows("select state, detail from provider_batch") == [("dropped", "the recipe task is gone")]


async def test_what_is_out_is_shown_and_its_endpoint_is_started_again(world: World) -> None:
    world.add(3)
    provider = Provider()
    provider.states = [RUNNING] * 1000
    soon = asyncio.get_running_loop().time() + 0.2
    await drain(world.database, HERE, provider, deadline=soon)
    async with await world.database.aconnect() as connection:
        assert await resources(connection) == {"openai test://here"}
        (shown,) = await open_batches(connection)
        assert (shown.size, shown.done, shown.state, shown.provider_id) == (3, 2, "running", "b0")
        assert shown.polled_at is not None
        cursor = await connection.execute(statement("upkeep.wanted_drains"))
        assert [(row[0], row[3]) for row in await cursor.fetchall()] == [("openai", 3)]


async def test_an_endpoint_that_nobody_drains_for_a_week_gives_its_items_back(world: World) -> None:
    ids = world.add(3)
    provider = Provider()
    provider.states = [RUNNING] * 1000
    await drain(world.database, HERE, provider, deadline=asyncio.get_running_loop().time() + 0.2)
    with world.database.connect(autocommit=True) as connection:
        assert connection.execute(statement("lease.recover")).fetchall() == []
        connection.execute("update provider_batch set created_at = now() - interval '8 days'")
        assert sorted(connection.execute(statement("lease.recover")).fetchall()) == [(id,) for id in ids]
    provider.states = []
    assert (await drain(world.database, HERE, provider)).accepted == 3
    assert sorted(provider.asked) == sorted(ids * 2), "they were sent anew, and the old answers ignored"
    each_once(world, 3)


async def test_a_batch_that_nobody_can_ask_for_is_given_up_after_days(world: World) -> None:
    world.add(3)
    provider = Provider()
    provider.states = [RUNNING] * 1000
    await drain(world.database, HERE, provider, deadline=asyncio.get_running_loop().time() + 0.2)
    provider.states = [broken(ErrorType.AUTH)]
    with world.database.connect() as connection:
        connection.execute("update provider_batch set created_at = now() - interval '4 days'")
    assert (await drain(world.database, HERE, provider)).accepted == 3
    assert len(provider.sent) == 2
    assert world.rows("select state, detail from provider_batch order by id") == [
        ("lost", "nobody could ask for it for days: it is auth."),
        ("ended", ""),
    ]
    each_once(world, 3)
