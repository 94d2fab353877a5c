"""Fewer arrows that say the same, and large graphs folded: nothing is lost, all is counted."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from models.items import State
from tasks.graph.model import BoardBox, Box, Drawing
from tasks.graph.shape import fold, join, nest

Needs = set[tuple[int, int]]


def drawing(parents: list[int | None], states: list[State] | None = None) -> tuple[Drawing, dict[int, Box]]:
    """Item n is part of item `parents[n]`, an earlier one."""
    found = Drawing([BoardBox(1, "plan.md", "Plan")])
    boxes = [
        Box(
            id=number,
            board_id=1,
            parent_id=parent,
            state=states[number] if states else State.PENDING,
            runs=number not in parents,
            ext_id=None,
            kind="task",
            title=f"Item {number}",
            line=number + 1,
            declared="todo",
            container=number in parents,
        )
        for number, parent in enumerate(parents)
    ]
    return found, nest(boxes, found)


def expanded(arrows: list[tuple[int, int]], by_id: dict[int, Box]) -> Needs:
    """What the arrows say of the items that run."""
    return {
        (box.id, needs)
        for item, needs in arrows
        for box in by_id[item].walk()
        if not box.container and box.runs
    }


def lifted(by_id: dict[int, Box], needs: Needs) -> list[tuple[int, int]]:
    return [(arrow.item.id, arrow.needs.id) for arrow in join(by_id, sorted(needs), lift=True)]


def test_what_all_parts_wait_for_is_one_arrow() -> None:
    _, by_id = drawing([None, 0, 0, None, 3, 3])  # phase 0 with 1 and 2, phase 3 with 4 and 5
    assert lifted(by_id, {(4, 0), (5, 0)}) == [(3, 0)]
    assert lifted(by_id, {(4, 0)}) == [(4, 0)]
    assert [(arrow.item.id, arrow.needs.id) for arrow in join(by_id, [(4, 0), (5, 0)], lift=False)] == [
        (4, 0),
        (5, 0),
    ]


def test_a_gate_is_no_reason_for_what_it_is_a_part_of() -> None:
    _, by_id = drawing([None, 0, 0, 2, 2])  # epic 0 with the gate 1 and the story 2, which has 3 and 4
    assert lifted(by_id, {(3, 1), (4, 1)}) == [(2, 1)]


@st.composite
def trees(draw: st.DrawFn) -> list[int | None]:
    size = draw(st.integers(1, 25))
    return [None, *(draw(st.none() | st.integers(0, number - 1)) for number in range(1, size))]


@given(trees(), st.data())
def test_arrows_say_what_the_needs_say(parents: list[int | None], data: st.DataObject) -> None:
    _, by_id = drawing(parents)
    leaves = [box.id for box in by_id.values() if not box.container]
    anything = st.tuples(st.sampled_from(leaves), st.sampled_from(sorted(by_id)))
    given_needs = data.draw(st.sets(anything, max_size=20))

    def related(item: int, needs: int) -> bool:
        return needs in {item, *(box.id for box in by_id[item].above())}

    needs = {(item, needed) for item, needed in given_needs if not related(item, needed)}
    arrows = lifted(by_id, needs)
    assert expanded(arrows, by_id) == needs
    assert len(arrows) <= len(needs)


def below(box: Box) -> Iterator[Box]:
    return (each for each in box.walk() if not each.container)


@given(trees(), st.data(), st.integers(1, 12))
def test_folding_draws_no_more_than_asked_and_counts_the_rest(
    parents: list[int | None], data: st.DataObject, most: int
) -> None:
    states = data.draw(st.lists(st.sampled_from(State), min_size=len(parents), max_size=len(parents)))
    found, by_id = drawing(parents, states)
    leaves = [box.id for box in by_id.values() if not box.container]
    before = found.counts()
    assert before.total() == len(leaves)
    pairs = data.draw(st.sets(st.tuples(st.sampled_from(leaves), st.sampled_from(leaves)), max_size=12))
    found.arrows = join(by_id, sorted(pair for pair in pairs if pair[0] != pair[1]), lift=False)
    asked = list(found.arrows)

    fold(found, most)

    assert found.counts() == before
    drawn = {box.id: box for box in found.walk()}
    assert len(drawn) <= most
    assert all(box.container for box in drawn.values())
    said = {(arrow.item.id, arrow.needs.id): arrow for arrow in found.arrows}
    assert len(said) == len(found.arrows)
    for arrow in found.arrows:
        assert arrow.item.id in drawn
        assert arrow.needs.id in drawn
        assert arrow.needs not in [arrow.item, *arrow.item.above()]
        assert arrow.item not in arrow.needs.above()
    for arrow in asked:
        ends = [
            next((b.id for b in (end, *end.above()) if b.id in drawn), None)
            for end in (arrow.item, arrow.needs)
        ]
        same = said.get((ends[0], ends[1])) if ends[0] is not None and ends[1] is not None else None
        if same is not None and not arrow.settled:
            assert not same.settled, "an arrow of which one need is open is open"
    assert found.notes


def test_folding_goes_as_deep_as_there_is_room() -> None:
    parents = [None, 0, 1, 2, 0, 4, None]  # 0 > 1 > 2 > 3, 0 > 4 > 5, and 6 alone
    for most, drawn in ((1, [0]), (2, [0]), (3, [0, 1, 4]), (4, [0, 1, 2, 4])):
        found, _ = drawing(parents)
        fold(found, most)
        assert [box.id for box in found.walk()] == drawn
        assert found.boards[0].folded.total() == 1
    assert found.notes == [
        "Only 4 items with parts are drawn; the 3 without parts are counted where they belong."
    ]


def test_boards_beyond_the_limit_are_counted() -> None:
    found = Drawing([BoardBox(number, f"{number}.md", "") for number in range(5)])
    fold(found, 3)
    assert [board.source for board in found.boards] == ["0.md", "1.md", "2.md"]
    assert "2 more boards are not drawn." in found.notes
