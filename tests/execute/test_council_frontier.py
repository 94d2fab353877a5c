"""When a council's synthesis is due, and when a person is asked instead: every way in which three members can end."""

from __future__ import annotations

import itertools

import pytest

from models.enums import Status

from .test_rollup import Tree, tree  # noqa: F401

ENDS = (Status.DONE, Status.FAILED, Status.CANCELLED)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_a_council_ends_as_its_members_do(tree: Tree, quorum: int, whole: bool) -> None:  # noqa: F811
    asked = {}
    for ends in itertools.product(ENDS, repeat=3):
        parent = tree.add(f"{quorum} {ends}")
        tree.one(
            "insert into council (item_id, recipe, quorum) values (%s, 'council', %s) returning 1",
            parent,
            quorum,
        )
        members = [
            tree.add(f"m{number}", Status.READY, parent=parent, recipe="council_a") for number in range(3)
        ]
        asked[parent] = (ends, members)
    with tree.database.connect(autocommit=True) as connection:
        connection.execute("update item set ready = true where status = 1")
    # One that still sits keeps all waiting, whatever the others did.
    for parent, (ends, members) in asked.items():
        for member, end in zip(members[:2], ends[:2], strict=True):
            settle(tree, member, end, whole)
        assert tree.state(parent) == (Status.PENDING, None)
    for ends, members in asked.values():
        settle(tree, members[2], ends[2], whole)
    for parent, (ends, _) in asked.items():
        heard = ends.count(Status.DONE)
        due = Status.READY if heard >= quorum else Status.WAITING
        assert tree.state(parent) == (due, "council"), ends
        open_ = tree.one("select count(*) from review where item_id = %s and decided_at is null", parent)
        assert open_ == (due is Status.WAITING)
    # Looked at again nothing moves: neither is asked twice.
    before = tree.one("select count(*) from review")
    assert tree.advance() == 0
    assert tree.one("select count(*) from review") == before


def settle(tree: Tree, member: int, end: Status, whole: bool) -> None:  # noqa: F811
    tree.one("update item set status = %s, ready = false where id = %s returning id", int(end), member)
    if end is Status.DONE:
        tree.result(member, "an opinion")
    tree.advance(*([] if whole else [member]))


def test_another_opinion_makes_the_synthesis_due_anew(tree: Tree) -> None:  # noqa: F811
    parent = tree.add("which?")
    tree.one("insert into council (item_id, recipe, quorum) values (%s, 'council', 1) returning 1", parent)
    one, two = (tree.add(name, Status.DONE, parent=parent, recipe="council_a", text=name) for name in "ab")
    tree.advance()
    assert tree.state(parent) == (Status.READY, "council")
    tree.one("update item set status = 4, ready = false where id = %s returning id", parent)
    tree.result(parent, "a decision")
    assert tree.advance() == 0
    tree.result(two, "another opinion")
    assert tree.advance() == 1
    assert tree.state(parent) == (Status.READY, "council")
    assert tree.text(parent) is None
    # Its last opinion is withdrawn: too few are left, and a person is asked about the one that is not there.
    for member in (one, two):
        tree.one("update item set status = 6 where id = %s returning id", member)
    tree.advance()
    assert tree.state(parent) == (Status.WAITING, "council")
