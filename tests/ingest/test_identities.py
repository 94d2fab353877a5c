"""Files as people edit them: shuffled, indented anew, ticked, with neighbours edited.

Items stay who they are, the delta counts what was done and no more, and what ran or was decided is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sources
from models.enums import Decision, Status
from models.settings import Settings
from sql.connection import Database
from tasks.decompose import decompose_board
from tasks.ingest import Delta, ingest_board
from tasks.recipes import load_recipes
from tasks.review import decide

NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Item:
    title: str
    ticked: bool = False
    body: str = ""
    parts: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Style:
    indent: str = "  "
    bullet: str = "-"
    between: bool = False  # a blank line between the items at the top
    intro: str = ""


def text_of(items: tuple[Item, ...], style: Style, depth: int = 0) -> str:
    lines = [style.intro] if style.intro and not depth else []
    for item in items:
        pad = style.indent * depth
        lines.append(f"{pad}{style.bullet} [{'x' if item.ticked else ' '}] {item.title}\n")
        if item.body:
            lines.append(f"{pad}{style.indent}{item.body}\n")
        lines.append(text_of(item.parts, style, depth + 1))
        lines += ["\n"] if style.between and not depth else []
    return "".join(lines)


def walk(items: tuple[Item, ...], above: str | None = None) -> Iterator[tuple[Item, str | None]]:
    for item in items:
        yield item, above
        yield from walk(item.parts, item.title)


def trees(depth: int = 2) -> st.SearchStrategy[tuple[Item, ...]]:
    parts = trees(depth - 1) if depth else st.just(())
    item = st.builds(Item, st.just(""), st.booleans(), st.sampled_from(["", "", "as agreed"]), parts)
    return st.lists(item, min_size=1, max_size=4).map(tuple)


def titled(items: tuple[Item, ...], names: Iterator[str]) -> tuple[Item, ...]:
    return tuple(replace(item, title=next(names), parts=titled(item.parts, names)) for item in items)


def names() -> Iterator[str]:
    """No two have a letter in common: a new item in the place of a removed one is not that one reworded."""
    return (chr(0x4E00 + number) * 5 for number in itertools.count())


@dataclass
class Expected:
    moved: int = 0
    status_changed: int = 0
    changed: int = 0
    added: int = 0
    removed: int = 0


def fewest_moves(before: list[str], after: list[str]) -> int:
    """Of names that are in both: how many must move to get from one order to the other."""
    places = [before.index(name) for name in after if name in before]
    longest: list[int] = []
    for number, place in enumerate(places):
        longest.append(1 + max((longest[k] for k in range(number) if places[k] < place), default=0))
    return len(places) - max(longest, default=0)


def edited(
    items: tuple[Item, ...], data: st.DataObject, expected: Expected, new: Iterator[str]
) -> tuple[Item, ...]:
    """Siblings shuffled, some ticked or not, some with another body, some taken out (with their parts), some new."""
    kept: list[Item] = []
    for item in items:
        if data.draw(st.integers(0, 9)) == 0:
            expected.removed += sum(1 for _ in walk((item,)))
            continue
        parts = edited(item.parts, data, expected, new)
        body, ticked = item.body, item.ticked
        if data.draw(st.integers(0, 5)) == 0:
            body = "in another way" if item.body != "in another way" else ""
            expected.changed += 1
        if data.draw(st.integers(0, 3)) == 0:
            ticked = not ticked
            expected.status_changed += body == item.body
        kept.append(replace(item, ticked=ticked, body=body, parts=parts))
    shuffled = data.draw(st.permutations(kept))
    expected.moved += fewest_moves([item.title for item in items], [item.title for item in shuffled])
    result = list(shuffled)
    if data.draw(st.integers(0, 3)) == 0:
        result.insert(data.draw(st.integers(0, len(result))), Item(next(new)))
        expected.added += 1
    return tuple(result)


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect(autocommit=True) as connection:
        yield connection


def store(connection: psycopg.Connection[Any], source: str, text: str) -> Delta:
    return ingest_board(connection, sources.parse(text.encode(), "plan.md"), source=source)


def stored(connection: psycopg.Connection[Any], source: str) -> dict[str, tuple[Any, ...]]:
    """Title to id, key, parent's title, whether it is done on the board."""
    rows = connection.execute(
        "select s.title, i.id, i.key, p.title, s.declared = 'done' from item i join item_source s on s.item_id = i.id"
        " join board b on b.id = i.board_id left join item_source p on p.item_id = i.parent_id"
        " where b.source = %s and s.removed_at is null",
        [source],
    )
    return {row[0]: row[1:] for row in rows}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_edited_files_keep_their_items(connection: psycopg.Connection[Any], data: st.DataObject) -> None:
    source = f"/plans/{next(NUMBERS)}.md"
    new = names()
    items = titled(data.draw(trees()), new)
    styles = st.builds(
        Style,
        st.sampled_from(["  ", "    ", "\t"]),
        st.sampled_from("-*+"),
        st.booleans(),
        st.sampled_from(["", "Some words.\n\n"]),
    )
    first = store(connection, source, text_of(items, data.draw(styles)))
    assert first.added == sum(1 for _ in walk(items))
    for _ in range(3):
        before = stored(connection, source)
        expected = Expected()
        items = edited(items, data, expected, new)
        text = text_of(items, data.draw(styles))
        delta = store(connection, source, text)
        after = stored(connection, source)
        assert {title: (row[2], row[3]) for title, row in after.items()} == {
            item.title: (above, item.ticked) for item, above in walk(items)
        }
        assert {title: after[title][:2] for title in after if title in before} == {
            title: before[title][:2] for title in after if title in before
        }
        counts = (delta.added, delta.removed, delta.changed, delta.status_changed, delta.moved)
        assert counts == (
            expected.added,
            expected.removed,
            expected.changed,
            expected.status_changed,
            expected.moved,
        )
        again = store(connection, source, text)
        assert again.unchanged == len(after)
        assert stored(connection, source) == after


def test_a_removed_item_that_ran_keeps_its_history(connection: psycopg.Connection[Any]) -> None:
    store(connection, "/plan.md", "- [ ] Dig the canal\n- [ ] Other\n")
    item = stored(connection, "/plan.md")["Dig the canal"][0]
    connection.execute("insert into recipe (hash, name, text) values ('h', 'task', '')")
    connection.execute(
        "insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size)"
        " values (1, 'ollama', 'x', 'm', 'task', 'h', 1)"
    )
    connection.execute(
        "insert into attempt (item_id, number, batch_id, model, prompt_hash, seconds, outcome)"
        " values (%s, 1, 1, 'm', 'p', 1, 'accepted')",
        [item],
    )
    connection.execute(
        "insert into result (item_id, attempt_id, text, accepted_by) values (%s, 1, 'It is dug.', 'checks')",
        [item],
    )
    connection.execute("update item set status = 4, recipe = 'task', tries = 1 where id = %s", [item])
    history = (
        "select i.status, i.tries, a.outcome, r.text, r.superseded_at from item i join attempt a on a.item_id = i.id"
        " join result r on r.item_id = i.id where i.id = %s"
    )
    kept = [(Status.DONE, 1, "accepted", "It is dug.", None)]
    assert store(connection, "/plan.md", "- [ ] Other\n").removed == 1
    assert connection.execute(history, [item]).fetchall() == kept
    assert store(connection, "/plan.md", "- [ ] Dig the canal\n- [ ] Other\n").added == 1
    assert stored(connection, "/plan.md")["Dig the canal"][0] == item
    assert connection.execute(history, [item]).fetchall() == kept


async def test_a_cancel_sticks(database: Database, connection: psycopg.Connection[Any]) -> None:
    """What a person rejected is not begun again by any edit around it, whatever is decomposed."""
    recipes = load_recipes(Settings())
    text = "- [ ] Dig the canal\n- [ ] Other\n"

    def run(text: str) -> Status:
        decompose_board(connection, store(connection, "/plan.md", text).board_id, recipes)
        row = connection.execute("select status from item where id = %s", [item]).fetchone()
        assert row is not None
        return Status(row[0])

    store(connection, "/plan.md", text)
    item = stored(connection, "/plan.md")["Dig the canal"][0]
    assert run(text) is Status.READY
    connection.execute("update item set status = 3, ready = false where id = %s", [item])
    connection.execute(
        "insert into review (subject, kind, item_id, title, reason, error_type)"
        " values ('item:' || %s, 'item', %s, '', '', 'rule')",
        [item, item],
    )
    other = await database.aconnect(autocommit=True)
    try:
        await decide(other, 1, Decision.REJECT, by="test")
    finally:
        await other.close()
    for edit in (
        f"{text}- [ ] More\n",
        "- [ ] Other\n- [ ] Dig the canal\n",
        "- [x] Dig the canal\n- [ ] Other\n",
        text,
        "- [ ] Other\n",
        text,
        "- [ ] Other\n  - [ ] Dig the canal\n",
    ):
        assert run(edit) is Status.CANCELLED
    assert run("- [ ] Other\n  - [ ] Dig the canal, twice as wide\n") is Status.READY
