"""What the figures share: a PENSTOCK_HOME of their own, a recipe, and items put straight into the tables."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from models.settings import Settings, settings

RECIPE = """---
name: bench
about: A short answer with two checks.
kinds: ["*"]
grounding: none
passages: 0
max_tokens: 64
answer_schema:
  type: object
  required: [answer]
  properties:
    answer: {type: string, minLength: 1}
checks:
  - expect: expect_column_values_to_be_between
    with: {column: length, min_value: 2, max_value: 2000}
    says: An answer has 2 to 2,000 characters.
  - expect: expect_column_values_to_not_be_null
    with: {column: text}
    says: There is an answer.
---
# System
Answer with JSON: {{ schema }}

# Prompt
<data {{ fence }}>
{{ item.parent_body }}
</data {{ fence }}>
<data {{ fence }}>
{{ item.title }}
</data {{ fence }}>
"""


@dataclass(frozen=True, slots=True)
class Item:
    title: str
    model: str | None = None
    parent: int | None = None  # the id of an item


@contextmanager
def place(**values: Any) -> Iterator[Path]:
    """A new PENSTOCK_HOME with these settings in the environment, for this process and its children."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    folder.chmod(0o711)  # Postgres runs as another user where root runs this
    home = folder / "home"
    (home / "recipes").mkdir(parents=True)
    (home / "recipes" / "bench.md").write_text(RECIPE, encoding="utf-8")
    before = dict(os.environ)
    # The servers here are numbers and not GPUs: that this machine is busy with all the others says nothing of them.
    os.environ |= {
        "PENSTOCK_HOME": str(home),
        "PENSTOCK_PREFECT_PORT": "0",
        "PENSTOCK_WATCH_HOST": "false",
    }
    try:
        configure(**values)
        yield home
    finally:
        os.environ.clear()
        os.environ |= before
        settings.cache_clear()
        shutil.rmtree(folder, ignore_errors=True)


def configure(**values: Any) -> Settings:
    """More settings into the environment; gives the process's settings as they are now."""
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        os.environ[f"PENSTOCK_{name.upper()}"] = text
    settings.cache_clear()
    return settings()


def board(connection: psycopg.Connection[Any], name: str) -> int:
    row = connection.execute(
        "insert into board (source, dialect, encoding, sha256) values (%s, 'gfm', 'utf-8', '') returning id",
        [f"bench:{name}"],
    ).fetchone()
    assert row is not None
    return int(row[0])


def add(
    connection: psycopg.Connection[Any], board_id: int, items: Sequence[Item], *, recipe: str | None = "bench"
) -> list[int]:
    """Items that are ready, or, without a recipe, containers with their title as text."""
    with connection.transaction():
        ids = [
            int(row[0])
            for row in connection.execute(
                "insert into item (board_id, key, position, status, ready, recipe, model, parent_id,"
                "                  rollup)"
                " select %(board)s, gen_random_uuid(), n, case when %(recipe)s::text is null then 0 else 1 end,"
                "        %(recipe)s::text is not null, %(recipe)s, model, parent, false"
                "   from unnest(%(models)s::text[], %(parents)s::bigint[]) with ordinality as t(model, parent, n)"
                " order by n returning id",
                {
                    "board": board_id,
                    "recipe": recipe,
                    "models": [item.model for item in items],
                    "parents": [item.parent for item in items],
                },
            )
        ]
        connection.execute(
            "insert into item_source (item_id, kind, title, body, line, declared, content_hash)"
            " select id, 'task', title, case when %(recipe)s::text is null then title else '' end, n, 'todo', ''"
            "   from unnest(%(ids)s::bigint[], %(titles)s::text[]) with ordinality as t(id, title, n)",
            {"ids": ids, "recipe": recipe, "titles": [item.title for item in items]},
        )
    return ids


def settled(connection: psycopg.Connection[Any], board_id: int) -> tuple[int, int, int]:
    """Items of a board that are not containers: all, those done, and accepted attempts at them."""
    row = connection.execute(
        "select count(*), count(*) filter (where status = 4),"
        "       (select count(*) from attempt a join item x on x.id = a.item_id"
        "         where x.board_id = %(board)s and a.outcome = 'accepted')"
        "  from item where board_id = %(board)s and recipe is not null",
        {"board": board_id},
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])
