"""Storing a large board, storing it again, and finding what is ready among a million items.

Ingest: a board of 100,000 tasks under 1,000 parents. The clock runs from the bytes to the commit: parse, Great
Expectations' checks, identities, rows. Everything is warm: imports are done, a small board was stored. `decompose` then
gives the items needs, recipes and readiness; it is told apart. Edited: one line in the middle says something else.

Frontier: a million items on 1,000 boards, written by SQL, one of ten open: half of these ready, half waiting for them.
A page is the 100 items that run next, of all boards; a claim takes 32, from a drain's side, and is rolled back. The
median of 50, after one that is not counted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from bench.harness import Figure, say, told, under
from models.settings import settings
from sql.connection import database
from sql.schema import prepare
from sql.statements import statement

ROUNDS = 3
BOARDS = 1000
FILTERS = ("boards", "statuses", "declared", "kinds", "words", "after")


def run(quick: bool) -> list[Figure]:
    items, stored, rounds = (20_000, 100_000, 1) if quick else (100_000, 1_000_000, ROUNDS)
    with _home(), database(settings()) as db:
        prepare(db)
        with db.connect(autocommit=True, statement_timeout=0) as connection:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                if connection.execute(f"show {name}".encode()).fetchone() != ("on",):
                    raise RuntimeError(f"{name} is off: nothing would be durable")
            figures = _ingest_figures(connection, items, rounds, goals=not quick)
            connection.execute("truncate board cascade; truncate work_key")
            return figures + _frontier_figures(connection, stored, goals=not quick)


def board_bytes(items: int, name: str, edited: int | None = None) -> bytes:
    lines = [f"# {name}\n"]
    for number in range(items):
        title = (
            f"Area {number // 100:04} of {name}" if number % 100 == 0 else f"Do number {number:06} of {name}"
        )
        again = ", in another way" if number == edited else ""
        lines.append(f"{'' if number % 100 == 0 else '  '}- [ ] {title}{again}")
    return "\n".join(lines).encode()


def _ingest_figures(
    connection: psycopg.Connection[Any], items: int, rounds: int, *, goals: bool
) -> list[Figure]:
    import sources
    from tasks.decompose import decompose_board
    from tasks.ingest import Delta, ingest_board
    from tasks.recipes import load_recipes

    recipes = load_recipes(settings())

    def store(name: str, data: bytes) -> tuple[float, Delta]:
        began = time.perf_counter()
        delta = ingest_board(connection, sources.parse(data, f"{name}.md"), source=f"bench:{name}")
        return time.perf_counter() - began, delta

    def order(delta: Delta) -> float:
        began = time.perf_counter()
        decompose_board(connection, delta.board_id, recipes)
        return time.perf_counter() - began

    order(store("warm", board_bytes(1000, "warm"))[1])
    parsed, first, ordered, same, edited, again = [], [], [], [], [], []
    for number in range(rounds):
        name = f"plan {number}"
        data = board_bytes(items, name)
        say(f"round {number + 1}: {items:,} items, {len(data) / 1e6:.1f} MB; load {os.getloadavg()[0]:.1f}")
        began = time.perf_counter()
        sources.parse(data, f"{name}.md")
        parsed.append(time.perf_counter() - began)
        seconds, delta = store(name, data)
        if delta.added != items:
            raise RuntimeError(f"{delta.added} of {items} items were stored")
        first.append(seconds)
        ordered.append(order(delta))
        seconds, delta = store(name, data)
        if delta.unchanged != items:
            raise RuntimeError(f"{delta.unchanged} of {items} items are unchanged")
        same.append(seconds)
        seconds, delta = store(name, board_bytes(items, name, edited=items // 2 + 1))
        if (delta.changed, delta.unchanged) != (1, items - 1):
            raise RuntimeError(f"one line was edited: {delta}")
        edited.append(seconds)
        again.append(order(delta))
    size = f"{items:,} items"
    limited = under if goals else lambda figure, value, unit, _: told(figure, value, unit)
    return [
        limited(f"{size}, from bytes to stored", median(first), "s", 10),
        told("  of that, parsing", median(parsed), "s"),
        told("  needs, recipes and readiness, after it", median(ordered), "s"),
        limited(f"{size}, unchanged, again", median(same), "s", 2),
        told(f"{size}, one line edited", median(edited), "s"),
        told("  needs, recipes and readiness, after it", median(again), "s"),
    ]


def _frontier_figures(connection: psycopg.Connection[Any], items: int, *, goals: bool) -> list[Figure]:
    say(f"{items:,} items, one of ten open; load {os.getloadavg()[0]:.1f}")
    _seed(connection, items)
    page = dict.fromkeys(FILTERS) | {"limit": 100}
    middle = connection.execute(
        "select id from item where ready order by priority, id offset %s limit 1", [items // 40]
    ).fetchone()
    assert middle is not None
    claim = {
        "recipes": ["task", "check"],
        "backend": "ollama",
        "boards": None,
        "among": None,
        "without": [],
        "group_backend": "",
        "recipe": "task",
        "model": "",
        "urgency": 12,
        "size": 32,
        "aged": 0,
        "patience": 900.0,
        "spread": 8,
        "after": -1,
        "limited": [],
        "room": [],
        "token": 1,
    }
    pages = _times(connection, "items.ready_page", page, 100)
    later = _times(connection, "items.ready_page", page | {"after": middle[0]}, 100)
    claims = _times(connection, "execute.claim", claim, 32)
    size = f"{items:,} items, {items // 10:,} open"
    limited = under if goals else lambda figure, value, unit, _: told(figure, value, unit)
    return [
        limited(f"{size}: the first 100 that are ready", median(pages), "ms", 20),
        limited(f"{size}: the 100 after the {items // 40:,}th", median(later), "ms", 20),
        told("  the slowest of all these", max(*pages, *later), "ms"),
        limited(f"{size}: a claim of 32", median(claims), "ms", 20),
    ]


def _times(
    connection: psycopg.Connection[Any], name: str, parameters: dict[str, Any], rows: int
) -> list[float]:
    times: list[float] = []
    for _ in range(51):
        with connection.transaction(force_rollback=True):
            began = time.perf_counter()
            found = connection.execute(statement(name), parameters).fetchall()
            times.append(1000 * (time.perf_counter() - began))
            if len(found) != rows:
                raise RuntimeError(f"{name} gave {len(found)} rows instead of {rows}")
    return times[1:]


def _seed(connection: psycopg.Connection[Any], items: int) -> None:
    connection.execute(
        "insert into board (source, dialect, encoding, sha256)"
        " select 'bench:' || n, 'gfm', 'utf-8', '' from generate_series(1, %s) n",
        [BOARDS],
    )
    # The open ones are spread over all boards; of each two of them the second needs the first.
    connection.execute(
        "insert into item (board_id, key, position, status, ready, recipe, priority)"
        " select b.id, gen_random_uuid(), n, case when n %% 10 > 0 then 4 when n %% 20 = 0 then 1 else 0 end,"
        "        n %% 20 = 0, case when n %% 60 = 0 then 'check' else 'task' end, 1 + hashint8(n) %% 2"
        "   from generate_series(1, %s) n join board b on b.source = 'bench:' || (1 + (n / 20) %% %s)",
        [items, BOARDS],
    )
    connection.execute(
        "insert into item_source (item_id, kind, title, line, declared, content_hash)"
        " select id, 'task', 'Do number ' || id, position, 'todo', '' from item"
    )
    connection.execute(
        "insert into need (item_id, needs_id)"
        " select w.id, r.id from item w join item r on r.board_id = w.board_id and r.position = w.position + 10"
        "  where w.status = 0 and r.status = 1"
    )
    connection.execute(
        "insert into lease (resource, backend, token, holder, expires_at)"
        " values ('bench', 'ollama', 1, 'nobody', now() + interval '1 day')"
    )
    connection.execute("vacuum analyze")


@contextmanager
def _home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    folder.chmod(0o711)  # Postgres runs as another user where root runs this
    before = os.environ.get("PENSTOCK_HOME")
    os.environ["PENSTOCK_HOME"] = str(folder / "home")
    settings.cache_clear()
    try:
        yield folder / "home"
    finally:
        if before is None:
            del os.environ["PENSTOCK_HOME"]
        else:
            os.environ["PENSTOCK_HOME"] = before
        settings.cache_clear()
        shutil.rmtree(folder, ignore_errors=True)
