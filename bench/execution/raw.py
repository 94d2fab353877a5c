"""The raw limit of Postgres: the life of an item as bare statements over the same tables, a batch at a time.

Each batch is inserted, claimed and completed by one statement each and committed after it, on one connection: the rows
that Penstock writes for an item (`item`, `item_source`, `work_key`, `attempt`, `result`, `answer_cache`) with the same
indexes, the same lengths of texts and the same durability. What a queue needs besides is left out: nobody parses,
looks for duplicates, prompts, asks, checks, holds a lease, or guards a report against a late one.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import Any

import psycopg

from sql.connection import Database

INSERT = """
with new as (
  insert into item (board_id, key, position, status, ready, recipe, length)
  select %(board)s, key, position, 1, true, 'bench', 6
    from unnest(%(keys)b::uuid[], %(positions)b::int4[]) as t(key, position)
  returning id, position, key
), worked as (
  insert into work_key (fingerprint, item_id) select key, id from new
)
insert into item_source (item_id, kind, title, line, declared, content_hash)
select n.id, 'task', t.title, n.position, 'todo', t.hash
  from new n join unnest(%(positions)b::int4[], %(titles)b::text[], %(hashes)b::text[]) as t(position, title, hash)
    on t.position = n.position
"""

CLAIM = """
with chosen as materialized (
  select id from item
   where ready and coalesce(backend, '') = '' and recipe = 'bench' and coalesce(model, '') = ''
     and urgency = 13 and board_id = %(board)s
   order by coalesce(parent_id, 0), length desc, id limit %(size)s
     for update skip locked
), claimed as (
  update item set status = 2, ready = false, tries = tries + 1
   where id = any(array(select id from chosen)) returning id, tries
)
select c.id, c.tries, s.title, s.body from claimed c join item_source s on s.item_id = c.id order by c.id
"""

COMPLETE = """
with moved as (
  update item set status = 4 from unnest(
    %(items)b::bigint[], %(hashes)b::text[], %(answers)b::text[], %(texts)b::text[], %(data)b::text[],
    %(keys)b::bytea[]
  ) as r(item_id, prompt_hash, answer, text, data, key)
   where item.id = r.item_id
  returning item.tries, nextval('attempt_id_seq') as attempt_id, r.*
), tried as (
  insert into attempt (id, item_id, number, batch_id, model, prompt_hash, prompt_tokens, completion_tokens, seconds,
                       outcome, answer, trace_id)
  overriding system value
  select attempt_id, item_id, tries, %(batch)s, 'bench', prompt_hash, 20, 8, 0, 'accepted', answer, 'raw' from moved
), cached as (
  insert into answer_cache (key, attempt_id, finish_reason) select key, attempt_id, 'stop' from moved
)
insert into result (item_id, attempt_id, text, data, accepted_by)
select item_id, attempt_id, text, data::jsonb, 'checks' from moved
"""

OPEN = """
insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size)
values (0, 'openai', 'raw', 'bench', 'bench', 'raw', %(size)s) returning id
"""

ANSWER = '{"answer": "here is a short answer"}'


def rate(db: Database, name: str, items: int, size: int) -> float:
    """Items a second, from the first insert to the last completion, each statement with `size` items."""
    with db.connect(autocommit=True) as connection:
        board = _one(
            connection,
            "insert into board (source, dialect, encoding, sha256) values (%s, 'gfm', 'utf-8', '') returning id",
            [f"raw:{name}"],
        )
        connection.execute(
            "insert into recipe (hash, name, text) values ('raw', 'bench', '') on conflict do nothing"
        )
        # As psycopg has it for what is sent often; the first few calls would be planned otherwise.
        connection.prepare_threshold = 0
        _cycle(connection, board, range(items, items + size), size)
        started = time.perf_counter()
        for first in range(0, items, size):
            _insert(connection, board, range(first, min(first + size, items)))
        done = 0
        while count := _batch(connection, board, size):
            done += count
        seconds = time.perf_counter() - started
        if done != items:
            raise RuntimeError(f"{done} of {items} items were completed")
    return items / seconds


def _cycle(connection: psycopg.Connection[Any], board: int, numbers: range, size: int) -> None:
    _insert(connection, board, numbers)
    while _batch(connection, board, size):
        pass


def _insert(connection: psycopg.Connection[Any], board: int, numbers: range) -> None:
    connection.execute(
        INSERT,
        {
            "board": board,
            "keys": [uuid.uuid4() for _ in numbers],
            "positions": list(numbers),
            "titles": [f"Say what number {number:06} of at-once-0 is" for number in numbers],
            "hashes": [f"{number:064}" for number in numbers],
        },
    )


def _batch(connection: psycopg.Connection[Any], board: int, size: int) -> int:
    """Claim and complete one batch; gives how many items it had."""
    rows = connection.execute(CLAIM, {"board": board, "size": size}).fetchall()
    if not rows:
        return 0
    with connection.transaction():
        batch = _one(connection, OPEN, {"size": len(rows)})
        connection.execute(
            COMPLETE,
            {
                "batch": batch,
                "items": [row[0] for row in rows],
                "hashes": [f"{row[0]:064}" for row in rows],
                "answers": [ANSWER] * len(rows),
                "texts": ["here is a short answer"] * len(rows),
                "data": [ANSWER] * len(rows),
                "keys": [os.urandom(32) for _ in rows],
            },
        )
    return len(rows)


def _one(connection: psycopg.Connection[Any], query: Any, parameters: Any) -> int:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return int(row[0])
