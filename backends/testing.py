"""The contract of a backend as checks that anybody can run: Penstock's tests do, and those of a plug-in should.

Each check is a coroutine function of a `Case` and raises AssertionError with a sentence. With pytest:

    from backends.testing import CHECKS, Case

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_contract(check, server):
        backend = MyBackend(Endpoint(backend="mine", url=server.url))
        try:
            await check(Case(backend, model="my-model"))
        finally:
            await backend.close()

They need a server that answers the question of `request()`. BATCH_CHECKS are for a backend with `batches`
(models.calls.HasBatches), on a server whose batches take a moment at least and end by themselves. HANG_CHECKS are for a
server that can be told not to answer (`Case.hang`), and for a backend that stops it by leaving (`Case.left`). Nothing
here imports pytest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from models.calls import (
    Backend,
    Batches,
    BatchState,
    BatchStatus,
    HasBatches,
    ModelAnswer,
    ModelCallError,
    ModelRequest,
    Passage,
    Probe,
)
from models.enums import ErrorType

__all__ = [
    "BATCH_CHECKS",
    "CHECKS",
    "EXPECTED",
    "HANG_CHECKS",
    "PASSAGE",
    "SCHEMA",
    "Case",
    "Check",
    "eventually",
    "fails",
    "request",
]

EXPECTED = "02:30"
"""What every right answer to the question of `request` has in it."""

PASSAGE = Passage(
    "docs/ops.md:12-13", "# Backups\n\nThe nightly backup starts at 02:30 UTC. It is kept 30 days."
)

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["answer", "citations", "confidence"],
    "properties": {
        "answer": {"type": "string", "minLength": 1},
        "citations": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["cite", "quote"],
                "properties": {"cite": {"type": "string"}, "quote": {"type": "string"}},
            },
        },
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
}


def request(model: str, **changes: Any) -> ModelRequest:
    """A question with its answer in the one passage beside it; anything can be changed."""
    question = changes.pop("question", "When does the nightly backup start?")
    passages = changes.pop("passages", (PASSAGE,))
    shown = "\n\n".join(f"[[{passage.cite}]]\n{passage.text}" for passage in passages)
    values: dict[str, Any] = {
        "item_id": 1,
        "model": model,
        "system": "Answer from the passages.",
        "prompt": f"{question}\n\n{shown}\n",
        "question": question,
        "passages": passages,
    }
    return ModelRequest(**(values | changes))


@dataclass
class Case:
    """One backend under test, with what is known of the server behind it."""

    backend: Backend
    model: str
    schema: bool = True  # the protocol has a way to ask for JSON of a schema, and the server keeps to it
    many: int = 40  # calls at once
    exact: bool = True  # the server's answers have EXPECTED in them; a real model may say it otherwise
    asked: Callable[[], int] | None = None  # how many requests the server has seen
    hang: Callable[[], None] | None = None  # makes it never answer its next request
    left: Callable[[], int] | None = None  # how many clients have left before their answer

    def request(self, **changes: Any) -> ModelRequest:
        return request(self.model, **changes)

    async def answer(self, seconds: float = 30, **changes: Any) -> Any:
        return await self.backend.answer(self.request(**changes), _in(seconds))


Check = Callable[[Case], Awaitable[None]]


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def fails(case: Case, seconds: float = 30, **changes: Any) -> ModelCallError:
    """The error of a call, which must be a sentence on one line."""
    try:
        answer = await case.answer(seconds, **changes)
    except ModelCallError as error:
        said = str(error)
        assert said[-1:] in (".", "?", "…", ")"), f"no sentence: {said!r}"
        assert said.isprintable(), f"not on one line: {said!r}"
        return error
    raise AssertionError(f"the call must fail, and it answered {answer.text[:80]!r}")


async def eventually(holds: Callable[[], bool], what: str, seconds: float = 5) -> None:
    """Wait for what another process does; the deadline is for a check that fails."""
    give_up = _in(seconds)
    while not holds():
        assert _in(0) < give_up, f"within {seconds:g} s it did not happen that {what}"
        await asyncio.sleep(0.01)


# --- checks -------------------------------------------------------------------------------------------------


async def is_a_backend(case: Case) -> None:
    assert isinstance(case.backend, Backend), "it lacks one of name, url, probe, answer, close"
    assert case.backend.name, "its name is empty"
    assert case.backend.url, "its url is empty: leases and reports need one"


async def probe_says_what_is_there(case: Case) -> None:
    probe = await case.backend.probe(_in(10))
    assert isinstance(probe, Probe), f"a probe is a models.calls.Probe, not {type(probe).__name__}"
    assert probe.reachable, f"the server is there, and the probe says: {probe.detail}"
    assert probe.detail, "a probe says in a clause what it found"
    names = [model.name for model in probe.models]
    assert case.model in names, f"the probe lists {names}, without {case.model!r}"


async def probe_keeps_its_deadline(case: Case) -> None:
    started = _in(0)
    probe = await case.backend.probe(_in(-1))
    assert isinstance(probe, Probe), "a probe never raises, nor for a deadline that has passed"
    assert _in(0) - started < 2, "a probe whose deadline has passed still took seconds"


async def answers(case: Case) -> None:
    answer = await case.answer()
    assert answer.text.strip(), "the answer is empty"
    assert not case.exact or EXPECTED in answer.text, f"the answer is {answer.text!r}"
    assert answer.model, "an answer names the model that gave it"
    assert answer.finish_reason, "an answer says how it ended"
    assert answer.seconds >= 0, "an answer can't take less than no time"
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        count = getattr(answer, name)
        assert count is None or (isinstance(count, int) and count >= 0), f"{name} is {count!r}"


async def answers_by_schema(case: Case) -> None:
    if not case.schema:
        return
    answer = await case.answer(schema=SCHEMA)
    data = orjson.loads(answer.text)
    assert set(data) == {"answer", "citations", "confidence"}, f"the answer has {sorted(data)}"
    assert all(set(each) == {"cite", "quote"} for each in data["citations"]), "a citation has cite and quote"


async def a_deadline_that_passed_asks_nobody(case: Case) -> None:
    before = case.asked() if case.asked else 0
    error = await fails(case, seconds=-1)
    assert error.error_type is ErrorType.TIMEOUT, f"it is a {error.error_type}"
    if case.asked:
        assert case.asked() == before, "the server was asked all the same"


async def text_that_is_no_unicode_is_sent(case: Case) -> None:
    answer = await case.answer(system="a \udcff lone surrogate")
    assert answer.text, "the answer is empty"


async def many_at_once_are_all_answered(case: Case) -> None:
    requests = [case.request(item_id=n, system=f"item {n}") for n in range(case.many)]
    answers = await asyncio.gather(*(case.backend.answer(each, _in(60)) for each in requests))
    assert all(answer.text for answer in answers), "one of them is empty"


async def closing_twice_is_fine(case: Case) -> None:
    await case.backend.close()
    await case.backend.close()


CHECKS: tuple[Check, ...] = (
    is_a_backend,
    probe_says_what_is_there,
    probe_keeps_its_deadline,
    answers,
    answers_by_schema,
    a_deadline_that_passed_asks_nobody,
    text_that_is_no_unicode_is_sent,
    many_at_once_are_all_answered,
    closing_twice_is_fine,
)


# --- checks with a server that hangs ------------------------------------------------------------------------


async def the_deadline_is_kept_and_the_server_is_left(case: Case) -> None:
    assert case.hang is not None
    case.hang()
    before, started = case.left() if case.left else 0, _in(0)
    error = await fails(case, seconds=0.5)
    assert error.error_type is ErrorType.TIMEOUT, f"it is a {error.error_type}"
    assert _in(0) - started < 5, "it took seconds longer than its deadline"
    if case.left is not None:
        left = case.left
        await eventually(lambda: left() > before, "the server sees that the client has left")
    assert (await case.answer()).text, "after it, the backend does not work on"


async def cancelling_stops_it(case: Case) -> None:
    assert case.hang is not None
    case.hang()
    before, seen = case.left() if case.left else 0, case.asked() if case.asked else 0
    task = asyncio.ensure_future(case.answer(60))
    if case.asked is not None:
        asked = case.asked
        await eventually(lambda: asked() > seen, "the server is asked", 20)
    task.cancel()
    started = _in(0)
    try:
        await task
    except asyncio.CancelledError:
        pass
    else:
        raise AssertionError("a cancelled call must end with CancelledError")
    assert _in(0) - started < 5, "a cancelled call took seconds to end"
    if case.left is not None:
        left = case.left
        await eventually(lambda: left() > before, "the server sees that the client has left")
    assert (await case.answer()).text, "after it, the backend does not work on"


HANG_CHECKS: tuple[Check, ...] = (the_deadline_is_kept_and_the_server_is_left, cancelling_stops_it)


# --- checks of a batch API ----------------------------------------------------------------------------------


def _batches(case: Case) -> Batches:
    assert isinstance(case.backend, HasBatches), "it has no batches"
    assert isinstance(case.backend.batches, Batches), "its batches lack a method"
    return case.backend.batches


def _members(case: Case, count: int = 4) -> list[ModelRequest]:
    return [case.request(item_id=n, system=f"item {n}", schema=SCHEMA) for n in range(1, count + 1)]


async def _final(batches: Batches, id: str, seconds: float = 20) -> BatchState:
    give_up = _in(seconds)
    while (state := await batches.poll(id, give_up)).status is BatchStatus.RUNNING:
        assert _in(0) < give_up, f"within {seconds:g} s the batch did not end"
        await asyncio.sleep(0.02)
    return state


async def a_batch_is_answered(case: Case) -> None:
    batches, members = _batches(case), _members(case)
    await batches.rehearse(members[0], _in(20))
    id = await batches.submit(members, _in(20), label="check-1")
    state = await _final(batches, id)
    assert state.status is BatchStatus.ENDED, f"it is {state.status}: {state.detail}"
    assert (state.total, state.done) == (len(members), len(members)), (
        f"{state.done} of {state.total} are done"
    )
    results = await batches.results(id, members, _in(20), label="check-1")
    assert [item for item, _ in results] == [each.item_id for each in members], (
        "not each request once, in order"
    )
    for item, answer in results:
        assert isinstance(answer, ModelAnswer), f"item {item} failed: {answer}"
        assert not case.exact or EXPECTED in answer.text, f"the answer is {answer.text!r}"


async def answers_of_another_label_are_not_taken(case: Case) -> None:
    batches, members = _batches(case), _members(case, 2)
    id = await batches.submit(members, _in(20), label="check-2")
    await _final(batches, id)
    for item, answer in await batches.results(id, members, _in(20), label="check-3"):
        assert isinstance(answer, ModelCallError), f"item {item} has the answer of another batch"
        assert answer.error_type is ErrorType.SERVER_ERROR, f"it is a {answer.error_type}"


async def a_batch_is_found_by_its_label(case: Case) -> None:
    batches, members, since = _batches(case), _members(case, 3), datetime.now(UTC)
    await _final(batches, await batches.submit(members[:2], _in(20), label="check-4"))
    id = await batches.submit(members, _in(20), label="check-5")
    assert await batches.find("check-5", _in(20), size=3, since=since) == id, "while it runs, it is not found"
    await _final(batches, id)
    assert await batches.find("check-5", _in(20), size=3, since=since) == id, "after its end, it is not found"
    assert await batches.find("check-6", _in(20), size=3, since=since) is None, "another is taken for it"


async def a_batch_that_is_cancelled_ends(case: Case) -> None:
    batches, members = _batches(case), _members(case, 2)
    id = await batches.submit(members, _in(20), label="check-7")
    await batches.cancel(id, _in(20))
    state = await _final(batches, id)
    assert state.status is BatchStatus.CANCELLED, f"it is {state.status}"
    for _, answer in await batches.results(id, members, _in(20), label="check-7"):
        assert isinstance(answer, ModelCallError), "it was answered all the same"
        assert not answer.error_type.charged, f"its item is charged for a {answer.error_type}"


async def a_batch_that_is_not_there_has_failed(case: Case) -> None:
    state = await _batches(case).poll("no such batch/..", _in(20))
    assert state.status is BatchStatus.FAILED, f"it is {state.status}"
    assert state.detail, "it does not say why"


async def a_batch_refuses_what_can_not_be_sent(case: Case) -> None:
    batches = _batches(case)
    assert batches.weigh(case.request()) > 100, "a request weighs next to nothing"
    for changes in ({"prompt": "many words " * 5000}, {"prompt": "x" * (batches.most_bytes + 1)}):
        kind = None
        try:
            batches.weigh(case.request(**changes))
        except ModelCallError as error:
            kind = error.error_type
        assert kind is ErrorType.CONTEXT_TOO_LONG, f"a request that is too long is refused as {kind}"


async def a_batch_keeps_its_deadline(case: Case) -> None:
    batches, members = _batches(case), _members(case, 1)
    calls: tuple[Callable[[], Awaitable[Any]], ...] = (
        lambda: batches.submit(members, _in(-1), label="check-8"),
        lambda: batches.poll("x", _in(-1)),
        lambda: batches.results("x", members, _in(-1), label="check-8"),
        lambda: batches.find("check-8", _in(-1), size=1, since=datetime.now(UTC)),
        lambda: batches.cancel("x", _in(-1)),
    )
    for call in calls:
        kind = None
        try:
            await call()
        except ModelCallError as error:
            kind = error.error_type
        assert kind is ErrorType.TIMEOUT, f"with a deadline that has passed it ends with {kind}"


BATCH_CHECKS: tuple[Check, ...] = (
    a_batch_is_answered,
    answers_of_another_label_are_not_taken,
    a_batch_is_found_by_its_label,
    a_batch_that_is_cancelled_ends,
    a_batch_that_is_not_there_has_failed,
    a_batch_refuses_what_can_not_be_sent,
    a_batch_keeps_its_deadline,
)
