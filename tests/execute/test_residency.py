"""Which model may be loaded, as pure decisions: memory is never passed, nobody's model is touched, nobody starves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.execute.residency import (
    SLACK,
    Evict,
    Held,
    Load,
    Room,
    State,
    Wait,
    goes_when_done,
    keep_seconds,
    load_budget,
    plan,
    used,
)


def held(
    resource: str,
    model: str,
    memory: float,
    state: State = State.LOADED,
    *,
    live: bool = False,
    owned: bool | None = None,
    waited: float = 0.0,
    idle: float = 0.0,
) -> Held:
    return Held(resource, model, memory, state, live, live if owned is None else owned, waited, idle)


ROOM = Room("me", "m", 10, 24, None)

places = st.tuples(st.sampled_from(["me", "a", "b"]), st.sampled_from(["m", "x", "y"]))
rows = st.dictionaries(
    places,
    st.tuples(
        st.sampled_from([0.0, 1.0, 6.0, 9.5, 14.0]),
        st.sampled_from(list(State)),
        st.booleans(),
        st.booleans(),
        st.floats(0, 2000),
        st.floats(0, 2000),
    ),
).map(lambda found: [Held(*place, *values) for place, values in found.items()])
rooms = st.builds(
    Room,
    st.just("me"),
    st.just("m"),
    st.sampled_from([0.0, 1.0, 10.0, 24.0]),
    st.sampled_from([None, 16.0, 24.0]),
    st.sampled_from([None, 1, 2]),
    st.booleans(),
)


@given(rows, rooms, st.floats(0, 2000))
def test_what_is_decided_keeps_the_promises(found: list[Held], room: Room, waited: float) -> None:
    decided = plan(found, room, waited=waited, max_wait=900)
    victims = decided.victims if isinstance(decided, Evict) else ()
    released = decided.release if isinstance(decided, Wait) else ()
    for row in (*victims, *released):
        assert row.resource == "me" or not row.live, "a model of a live drain is never touched"
        assert row.place != ("me", "m")
        assert row.state is not State.WANTED
    assert room.frees or not released, "what its server keeps is not said to be gone"
    if isinstance(decided, Wait):
        return
    assert not any(row.busy for row in found), "one load at a time on a device"
    left = [row for row in found if row not in victims and row.place != ("me", "m")]
    if room.memory is not None and room.needed:
        assert used(left) + room.needed <= room.memory + SLACK
    if room.resident is not None:
        assert sum(row.resource == "me" and row.state is not State.WANTED for row in left) < room.resident


@given(rows, rooms)
def test_nothing_is_evicted_without_need(found: list[Held], room: Room) -> None:
    decided = plan(found, room)
    gone = decided.victims if isinstance(decided, Evict) else ()
    for victim in gone:
        left = [row for row in found if (row is victim or row not in gone) and row.place != ("me", "m")]
        own = sum(row.resource == "me" and row.state is not State.WANTED for row in left)
        counted = room.memory is not None and room.needed > 0
        assert (counted and used(left) + room.needed > (room.memory or 0) + SLACK) or (
            room.resident is not None and own > room.resident - 1
        ), "without any one of them there is no room"


def test_there_is_room() -> None:
    assert plan([], ROOM) == Load()
    assert plan([held("a", "x", 14, live=True)], ROOM) == Load()
    assert plan([held("me", "m", 10)], ROOM) == Load()


def test_the_longest_unused_of_the_own_models_goes_first_then_what_nobody_drains() -> None:
    fresh, old = held("me", "x", 8, live=True, idle=5), held("me", "y", 8, live=True, idle=50)
    assert plan([fresh, old], ROOM) == Evict((old,))
    left = held("a", "x", 8, idle=500)
    assert plan([fresh, left], Room("me", "m", 17, 24, None)) == Evict((fresh, left))
    assert plan([fresh, left], ROOM) == Evict((fresh,))
    broken = held("b", "x", 8, State.LOADING)
    assert plan([left, broken], ROOM) == Evict((broken,))


def test_a_model_is_spared_where_a_larger_one_goes_anyway() -> None:
    mine, left = held("me", "x", 8, live=True), held("a", "x", 14)
    assert plan([mine, left], Room("me", "m", 14, 24, None)) == Evict((left,))
    assert plan([mine, left], Room("me", "m", 14, 24, 1)) == Evict((mine, left))


def test_so_many_models_stay_as_the_endpoint_keeps() -> None:
    mine = [held("me", name, 0, live=True, idle=idle) for name, idle in (("x", 1), ("y", 2))]
    assert plan(mine, Room("me", "m", 0, None, 2)) == Evict((mine[1],))
    assert plan(mine, Room("me", "m", 0, None, 3)) == Load()
    assert plan(mine, Room("me", "m", 0, None, None)) == Load()


@pytest.mark.parametrize("state", [State.LOADING, State.UNLOADING])
def test_a_load_waits_for_another_load_and_for_what_is_leaving(state: State) -> None:
    decided = plan([held("a", "x", 0, state, live=True)], ROOM)
    assert isinstance(decided, Wait)
    assert (decided.for_memory, decided.release) == (False, ())
    assert plan([held("a", "x", 0, state)], ROOM) == Load(), "whoever did it is no more"


def test_who_waits_lets_go_what_another_waits_for() -> None:
    """Each of two has a model and wants another one: without this they would wait for each other for ever."""
    mine, theirs = held("me", "x", 12, live=True), held("a", "x", 12, live=True)
    room = Room("me", "m", 20, 24, None)
    alone = plan([mine, theirs], room)
    assert isinstance(alone, Wait)
    assert alone.release == ()
    both = plan([mine, theirs, held("a", "y", 20, State.WANTED, live=True)], room)
    assert isinstance(both, Wait)
    assert both.release == (mine,)


def test_small_models_do_not_pass_a_large_one_for_ever() -> None:
    large = held("a", "y", 20, State.WANTED, live=True, waited=901)
    holder = held("b", "x", 6, live=True)
    assert isinstance(plan([large, holder], ROOM, waited=3, max_wait=900), Wait)
    assert plan([large, holder], ROOM, waited=3, max_wait=902) == Load()
    assert plan([large, holder], ROOM, waited=902, max_wait=900) == Load()
    assert plan([large, holder], Room("me", "m", 0, 24, None), max_wait=900) == Load()
    dead = held("a", "y", 20, State.WANTED, waited=901)
    assert plan([dead, holder], ROOM, max_wait=900) == Load()


def test_a_server_that_cannot_let_go_replaces_what_it_has_and_keeps_nobody_waiting_for_it() -> None:
    mine = held("me", "x", 14, live=True)
    elder = held("a", "y", 14, State.WANTED, live=True, waited=901)
    asked = Room("me", "m", 14, 24, 1, frees=False)
    assert plan([mine, elder], asked, max_wait=900) == Evict((mine,))
    told = plan([mine, elder], Room("me", "m", 14, 24, 1), max_wait=900)
    assert isinstance(told, Wait)
    assert told.release == (mine,)
    first = plan([elder], asked, max_wait=900)
    assert isinstance(first, Wait)
    assert not first.release


def test_what_could_not_be_let_go_is_waited_for() -> None:
    left = held("a", "x", 20)
    assert plan([left], ROOM) == Evict((left,))
    assert isinstance(plan([left], ROOM, stuck={left.place}), Wait)


def test_memory_that_is_not_declared_is_not_counted() -> None:
    full = [held("a", "x", 24, live=True)]
    assert plan(full, Room("me", "m", 0, 24, None)) == Load()
    assert plan(full, Room("me", "m", 10, None, None)) == Load()


@pytest.mark.parametrize(
    ("usual", "declared", "budget"), [(None, 300, 300), (1, 300, 30), (10, 300, 30), (40, 30, 120)]
)
def test_a_load_may_take_three_times_its_usual_time(
    usual: float | None, declared: float, budget: float
) -> None:
    assert load_budget(usual, declared) == budget


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("10m", 600),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("300", 300),
        (0, 0),
        (-1, math.inf),
        ("-1s", math.inf),
        ("soon", 0),
        ("", 0),
        ("5x", 0),
        ("nan", 0),
    ],
)
def test_keep_alive(said: int | str, seconds: float) -> None:
    assert keep_seconds(said) == seconds


@given(st.text(max_size=12) | st.integers())
def test_keep_alive_is_never_negative(said: int | str) -> None:
    assert keep_seconds(said) >= 0


def test_large_models_go_when_their_work_is_done() -> None:
    assert goes_when_done(13, 24)
    assert not goes_when_done(12, 24)
    assert not goes_when_done(13, None)
