"""How long a person waits for a list or a drawing of a million stored items (100,000 with QUICK=1).

Eleven boards, one with half of all items; 20 items a story; one story in ten open, the others settled. Timed are the
functions behind `penstock items`, `penstock boards` and `penstock graph`, statements and rows, each the median of five
calls after a first one. Outside: the start of Python and of the server (see `cli`).
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from bench.harness import Figure, say, told, under
from models.enums import Status
from models.items import ItemFilter
from models.settings import Settings
from sql.connection import Database, database
from sql.schema import prepare
from tasks.graph import MOST_SVG, Scope, read, svg
from tasks.items import board_rows, count, find, stream

ITEMS = 1_000_000
STORY = 20
STREAMED = 50_000

LOAD = (
    "insert into board (source, dialect, encoding, title, sha256)"
    " select '/plans/' || n || '.md', 'gfm', 'utf-8', 'Board ' || n, n::text from generate_series(1, 11) n",
    # The first board has a half; of each story the first item is the parent of the others.
    "insert into item (board_id, parent_id, key, position, status, ready, recipe, priority)"
    " select case when n <= %(items)s / 2 then 1 else 2 + (n - %(items)s / 2 - 1) / (%(items)s / 20) end,"
    "        case when n %% %(story)s <> 1 then (n - 1) / %(story)s * %(story)s + 1 end, gen_random_uuid(), n,"
    "        s.status, s.status = 1, case when n %% %(story)s <> 1 then 'task' end, n %% 4"
    "   from generate_series(1, %(items)s) n,"
    "        lateral (select case when n / %(story)s %% 10 > 0 then case when n %% 3 = 0 then 7 else 4 end"
    "                             when n %% %(story)s = 1 then 0"
    "                             when n %% 4 = 0 then 1 when n %% 4 = 1 then 3 else 0 end as status) s"
    "  order by n",
    "insert into item_source (item_id, ext_id, kind, title, body, line, declared, content_hash, removed_at)"
    " select id, case when id %% 3 = 0 then 'T' || id end, case when parent_id is null then 'story' else 'task' end,"
    "        'State the level of basin ' || id || ' and say what follows from it', repeat('some text ', 10),"
    "        position, case when status in (4, 7) then 'done' else 'todo' end, md5(id::text),"
    "        case when id %% 1000 = 2 then now() end"
    "   from item",
    # What is pending waits for the open story before its own.
    "insert into need select i.id, i.parent_id - 10 * %(story)s from item i"
    "  where i.status = 0 and i.parent_id > 10 * %(story)s",
    "vacuum analyze",
)


@contextmanager
def filled(items: int) -> Iterator[Database]:
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    folder.chmod(0o711)
    try:
        with database(Settings(home=folder / "home")) as db:
            prepare(db)
            with db.connect(autocommit=True, statement_timeout=600) as connection:
                for query in LOAD:
                    values = {"items": items, "story": STORY} if "%(" in query or "%%" in query else None
                    connection.execute(query.encode(), values)
            yield db
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(quick: bool) -> list[Figure]:
    items = ITEMS // 10 if quick else ITEMS
    say(f"storing {items:,} items")
    with filled(items) as db, db.connect(autocommit=True) as connection:
        return [*_lists(connection), *_drawings(connection), *_stream(connection)]


def _lists(connection: psycopg.Connection[Any]) -> Iterator[Figure]:
    last = ITEMS // 100
    filters: dict[str, tuple[ItemFilter, float]] = {
        "the first 50 of all": (ItemFilter(), 1000),
        "of one board": (ItemFilter(boards=(2,)), 500),
        "--status waiting": (ItemFilter(statuses=(Status.WAITING,)), 1000),
        "--blocked, with what each waits for": (ItemFilter(blocked=True), 2000),
        "--ready, in the order of running": (ItemFilter(ready=True), 20),
        "--kind story": (ItemFilter(kinds=("story",)), 2000),
        "--text": (ItemFilter(words=("basin", f"{last}7")), 3000),
    }
    for words, (wanted, goal) in filters.items():
        yield under(f"items: {words}", _milliseconds(partial(find, connection, wanted, 50)), "ms", goal)
    every = _milliseconds(partial(count, connection, ItemFilter()))
    yield under("items: how many there are", every, "ms", 1000)
    yield under("boards", _milliseconds(partial(board_rows, connection, None)), "ms", 3000)


def _drawings(connection: psycopg.Connection[Any]) -> Iterator[Figure]:
    for words, scope in (
        ("graph: all, folded to 500", Scope(most=MOST_SVG)),
        ("graph: --open, folded to 500", Scope(open=True, most=MOST_SVG)),
    ):
        yield under(words, _milliseconds(partial(_draw, connection, scope)), "ms", 5000)


def _draw(connection: psycopg.Connection[Any], scope: Scope) -> str:
    return svg(read(connection, scope))


def _stream(connection: psycopg.Connection[Any]) -> Iterator[Figure]:
    started = time.perf_counter()
    number = sum(1 for _ in islice(stream(connection, ItemFilter()), STREAMED))
    yield told("items: --all, items a second", number / (time.perf_counter() - started), "1/s")


def _milliseconds(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1000)
    return median(taken)
