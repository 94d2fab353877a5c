"""One item with all that is known of it, and the ways to name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.types.json import Jsonb

from models.board import Finding
from models.enums import Severity
from models.errors import InputError
from models.items import State
from models.recipe import Note
from tasks.items import item_case, item_id

from .conftest import item, number, settle

if TYPE_CHECKING:
    from .conftest import Connection, Store


@pytest.fixture
def board(store: Store) -> None:
    store(
        "dam.md",
        item("Build", ext_id="B"),
        item("Dig", ext_id="B.1", under="Build", body="down to the rock", labels={"owner": "Ann"}),
        item("Fill", ext_id="B.2", under="Build", needs=["B.1"]),
        item("Open", needs=["B.2"]),
        findings=[
            Finding("oversized", Severity.WARNING, 2, "It is large."),
            Finding("other", Severity.INFO, 3, "Of another line."),
        ],
    )


@pytest.mark.usefixtures("board")
def test_all_about_an_item(connection: Connection) -> None:
    case = item_case(connection, number(connection, "Dig"))
    assert (case.row.title, case.body, case.row.labels["owner"]) == ("Dig", "down to the rock", "Ann")
    assert [each.title for each in case.above] == ["Build"]
    assert (case.needs, case.needs_count) == ([], 0)
    assert [(each.title, each.state) for each in case.needed_by] == [("Fill", State.BLOCKED)]
    assert [
        finding.code for finding in case.findings if finding.line == 2 and finding.code == "oversized"
    ] == ["oversized"]
    assert all(finding.line == 2 for finding in case.findings)
    assert case.result is None

    settle(connection, "Dig")
    connection.execute(
        "insert into result (item_id, text, accepted_by) values (%s, 'Nine metres.', 'person')", [case.row.id]
    )
    connection.execute(
        "insert into review (subject, kind, item_id, title, reason, error_type, decision, decided_by, decided_at)"
        " values ('item:x', 'item', %s, 't', 'r', 'rule', 'edit', 'Ann', now())",
        [case.row.id],
    )
    after = item_case(connection, case.row.id)
    assert after.result
    assert (after.result.text, after.result.accepted_by) == ("Nine metres.", "person")
    assert [(review.decision, review.decided_by) for review in after.reviews] == [("edit", "Ann")]
    fill = item_case(connection, number(connection, "Fill"))
    assert [(each.title, each.state) for each in fill.needs] == [("Dig", State.DONE)]
    build = item_case(connection, number(connection, "Build"))
    assert [part.title for part in build.parts] == ["Dig", "Fill"]
    assert sum(build.parts_by_state.values()) == 2


@pytest.mark.usefixtures("board")
def test_an_item_is_named_by_number_by_place_and_by_its_id(connection: Connection, store: Store) -> None:
    fill = number(connection, "Fill")
    assert item_id(connection, str(fill)) == fill
    assert item_id(connection, "dam.md:3") == fill
    assert item_id(connection, "/plans/dam.md:3") == fill
    assert item_id(connection, "B.2") == fill
    for wrong in ("999999", "dam.md:77", "nope", "nope.md:3", "9" * 30):
        with pytest.raises(InputError):
            item_id(connection, wrong)
    store("other.md", item("Also", ext_id="B.2"))
    with pytest.raises(
        InputError, match=rf"more than one item: {fill} at /plans/dam.md:3; \d+ at /plans/other.md:1"
    ):
        item_id(connection, "B.2")
    with pytest.raises(InputError, match="no item 999999"):
        item_case(connection, 999999)


def test_an_item_that_left_its_board_is_still_told(connection: Connection, store: Store) -> None:
    store("dam.md", item("Dig"), item("Fill"))
    gone = number(connection, "Dig")
    store("dam.md", item("Fill"))
    assert item_case(connection, gone).removed_at


@pytest.mark.usefixtures("board")
def test_what_was_done_to_a_prompt_is_told_with_its_try(connection: Connection) -> None:
    dig = number(connection, "Dig")
    connection.execute("insert into recipe (hash, name, text) values ('h', 'task', '')")
    batch = connection.execute(
        "insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size)"
        " values (1, 'openai', 'u', 'm', 'task', 'h', 1) returning id"
    ).fetchone()
    assert batch
    note = Note("redacted", "1 secret taken out of the prompt: 1 jwt.").as_json()
    kept: tuple[object, ...] = ([{"layer": "rules", "message": "m"}, note], None, {})
    for place, checks in enumerate(kept, 1):
        connection.execute(
            "insert into attempt (item_id, number, batch_id, model, prompt_hash, seconds, outcome, checks)"
            " values (%s, %s, %s, 'm', 'p', 1, 'retry', %s)",
            [dig, place, batch[0], None if checks is None else Jsonb(checks)],
        )
    assert [each.notes for each in item_case(connection, dig).tries] == [[note["message"]], [], []]
