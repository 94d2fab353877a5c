"""When queues will be done: by all that may take them, at their measured speeds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployments.load import Load, ModelView, Queue, Taker, outlook
from models.calls import ModelInfo, Probe
from models.endpoint import Endpoint


def taker(
    port: int, allowed: float = 4, backend: str = "ollama", model: str | None = "m", works: bool = True
) -> Taker:
    models = (ModelInfo("m"), ModelInfo("n"))
    return Taker(
        Endpoint(backend=backend, url=f"http://h:{port}", model=model),
        Probe(True, "", models),
        allowed,
        works,
    )


def seen(seconds: float | None, model: str = "m", open_: bool = False) -> ModelView:
    return ModelView(model, None, 0, seconds, 0, None, open_, False, None, None, None, None, None)


def queue(due: int, model: str = "", backend: str = "", **more: int) -> Queue:
    return Queue(backend, model, due, more.get("later", 0), more.get("paused", 0), 0.0)


def test_a_queue_at_one_endpoint() -> None:
    load = Load(models={"ollama http://h:1": [seen(2.0)]}, queues=[queue(60, later=3, paused=5)])
    (one,) = outlook([taker(1)], load, "auto")
    assert (one.due, one.later, one.paused, one.eta) == (60, 3, 5, 30.0)


def test_two_endpoints_are_twice_as_fast() -> None:
    load = Load(
        models={"ollama http://h:1": [seen(2.0)], "ollama http://h:2": [seen(2.0)]}, queues=[queue(60)]
    )
    assert [each.eta for each in outlook([taker(1), taker(2)], load, "auto")] == [15.0, 15.0]
    # One that is paused or does not answer takes nothing of it, and of its own time nothing is known.
    assert [each.eta for each in outlook([taker(1), taker(2, works=False)], load, "auto")] == [30.0, None]


def test_what_is_not_known_is_unknown() -> None:
    load = Load(queues=[queue(1)])
    assert outlook([taker(1)], load, "auto")[0].eta is None
    measured = Load(queues=[queue(8)], seconds={("ollama http://h:1", "m:latest"): 1.0})
    assert outlook([taker(1)], measured, "auto")[0].eta == 2.0
    broken = Load(queues=[queue(8)], models={"ollama http://h:1": [seen(1.0, open_=True)]})
    assert outlook([taker(1)], broken, "auto")[0].eta is None
    assert outlook([taker(1)], Load(), "auto")[0].eta == 0


def test_who_may_take_what() -> None:
    def due(queues: list[Queue], wanted: str = "auto") -> list[int]:
        return [
            each.due for each in outlook([taker(1), taker(2, backend="openai")], Load(queues=queues), wanted)
        ]

    assert due([queue(3)]) == [3, 3]
    assert due([queue(3)], "openai") == [0, 3]  # the settings name who takes what names nobody
    assert due([queue(3, backend="ollama")], "openai") == [3, 0]
    assert due([queue(3, model="n")]) == [3, 3]
    assert due([queue(3, model="elsewhere")]) == [0, 0]


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(["", "m", "n", "x"])), max_size=5),
    st.lists(
        st.tuples(st.floats(1, 16), st.one_of(st.none(), st.floats(0.1, 100)), st.booleans()), max_size=4
    ),
)
def test_no_work_is_lost_and_more_hands_are_never_slower(
    work: list[tuple[int, str]], hands: list[tuple[float, float | None, bool]]
) -> None:
    takers = [taker(number, allowed, works=works) for number, (allowed, _, works) in enumerate(hands)]
    models = {
        f"ollama http://h:{number}": [seen(seconds, "m"), seen(seconds, "n")]
        for number, (_, seconds, _) in enumerate(hands)
    }
    load = Load(models=models, queues=[queue(due, model) for due, model in work])
    found = outlook(takers, load, "auto")
    there = sum(due for due, model in work if model != "x")
    for each, one in zip(found, takers, strict=True):
        assert each.due == there
        assert each.eta is None or each.eta >= 0
        (alone,) = outlook([one], load, "auto")
        if alone.eta is not None:
            assert each.eta is not None
            assert each.eta <= alone.eta * 1.000001
