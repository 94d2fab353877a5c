"""The frontier's statements read the partial indexes of ready items, in order: their cost must not grow with what is
stored. A plan is what decides that, so the plans are what is looked at; how long they take is bench/graph.py's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sql.connection import Database
from sql.statements import statement

ITEMS = 60_000
FILTERS = ("boards", "statuses", "declared", "kinds", "words", "after")
Plan = dict[str, Any]


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """60,000 items of 20 boards, one of ten ready, and statistics of them."""
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "insert into board (source, dialect, encoding, sha256)"
            " select 'board ' || n, 'gfm', 'utf-8', '' from generate_series(1, 20) n"
        )
        connection.execute(
            "insert into item (board_id, key, position, status, ready, recipe, priority)"
            " select 1 + n %% 20, gen_random_uuid(), n, case when n %% 10 = 0 then 1 else 4 end, n %% 10 = 0,"
            "        case when n %% 30 = 0 then 'check' else 'task' end, n %% 4"
            "   from generate_series(1, %s) n",
            [ITEMS],
        )
        connection.execute(
            "insert into item_source (item_id, kind, title, line, declared, content_hash)"
            " select id, 'task', 'number ' || id, position, 'todo', '' from item"
        )
        connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values ('simulator', 'ollama', 1, 'nobody', now() + interval '1 hour')"
        )
        connection.execute("analyze")
        yield connection


def plan(connection: psycopg.Connection[Any], name: str, **parameters: Any) -> Plan:
    with connection.transaction(force_rollback=True):
        row = connection.execute(
            b"explain (analyze, timing off, format json) " + statement(name), parameters
        ).fetchone()
    assert row is not None
    found: Plan = row[0][0]["Plan"]
    return found


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def indexes(plan: Plan) -> set[str]:
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def most_rows(plan: Plan) -> float:
    """Of any step, what its filters threw away included."""
    return max(
        float(node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * float(node["Actual Loops"])
        for node in nodes(plan)
    )


def test_a_page_of_the_frontier_reads_as_many_entries_as_it_shows(
    connection: psycopg.Connection[Any],
) -> None:
    none = dict.fromkeys(FILTERS)
    first = plan(connection, "items.ready_page", **none, limit=50)
    last = connection.execute(
        "select id from item where ready order by priority desc, id desc offset 60 limit 1"
    )
    row = last.fetchone()
    assert row is not None
    later = plan(connection, "items.ready_page", **none | {"after": row[0]}, limit=50)
    for found in (first, later):
        assert "item_ready_order" in indexes(found)
        assert not any(node["Node Type"] in ("Sort", "Seq Scan") for node in nodes(found))
        assert most_rows(found) == 50


LOOK = {"recipes": ["task", "check"], "backend": "ollama", "boards": None, "among": None, "without": [3, 4],
        "token": 1, "away": 90.0}  # fmt: skip
CLAIM = LOOK | {
    "group_backend": "",
    "recipe": "task",
    "model": "",
    "urgency": 11,
    "size": 32,
    "aged": 16,
    "patience": 900.0,
    "spread": 8,
    "after": 5,
    "limited": [],
    "room": [],
}


@pytest.mark.parametrize("boards", [None, [1, 2, 11]])
def test_a_look_at_the_groups_is_a_few_probes_for_each(
    connection: psycopg.Connection[Any], boards: list[int] | None
) -> None:
    found = plan(connection, "execute.groups", **LOOK | {"boards": boards})
    assert indexes(found) <= {"item_ready", "item_waiting", "item_board_waiting"}
    assert not any(
        node["Node Type"] == "Seq Scan" and node["Relation Name"] != "lease" for node in nodes(found)
    )
    assert most_rows(found) <= 32


@pytest.mark.parametrize("boards", [None, [1, 2, 11]])
def test_a_claim_reads_as_many_entries_as_it_takes(
    connection: psycopg.Connection[Any], boards: list[int] | None
) -> None:
    found = plan(connection, "execute.claim", **CLAIM | {"boards": boards})
    assert "item_ready" in indexes(found)
    assert not any(
        node["Node Type"] == "Seq Scan" and node["Relation Name"] in ("item", "item_source")
        for node in nodes(found)
    )
    assert most_rows(found) <= 2 * 32 * 8, "twice the size, of each of the boards that are served in turn"
