from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql.connection import Database
from sql.statements import areas, names, parse, statement

ROOT = Path(__file__).parents[2]
PACKAGES = ("sql", "tasks", "flows", "deployments", "interfaces", "bench")


def used() -> tuple[set[str], set[str]]:
    """What the code passes to `statement(...)` as a literal, and every literal it has anywhere."""
    asked, literals = set(), set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                literals.add(node.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "statement":
                asked |= {part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)}
    return {str(name) for name in asked}, literals


def test_every_name_in_the_code_is_a_statement_and_every_statement_is_used() -> None:
    asked, literals = used()
    assert asked - set(names()) == set()
    assert set(names()) - literals == set()


def numbered(query: bytes) -> bytes:
    """psycopg's placeholders as Postgres' own: %(name)s and %s become $1, $2, and %% a percent sign."""
    order: dict[bytes, int] = {}

    def one(match: re.Match[bytes]) -> bytes:
        if match[0] == b"%%":
            return b"%"
        key = match[1] or b"%d" % len(order)
        return b"$%d" % order.setdefault(key, len(order) + 1)

    return re.sub(rb"%%|%(?:\((\w+)\))?[sbt]", one, query)


def test_every_statement_parses_against_the_schema(database: Database) -> None:
    wrong = {}
    with database.connect(autocommit=True) as connection:
        for name in names():
            result = connection.pgconn.prepare(b"", numbered(statement(name)))
            if result.error_message:
                wrong[name] = result.error_message.decode()
    assert wrong == {}


def test_an_unknown_statement_is_an_error_at_import() -> None:
    for wrong in ("execute.no_such", "no_such.claim", "claim", "", "../execute.claim", f"{areas()[0]}."):
        with pytest.raises(KeyError):
            statement(wrong)


def test_blocks_are_read() -> None:
    text = "-- About.\n\n-- name: one\nselect 1; -- yes\n\n--name:two \n-- 50% of it\nselect '--x'\n"
    assert parse(text, "x.sql") == {"one": b"select 1; -- yes", "two": b"select '--x'"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-- name: a\nselect 1\n-- name: a\nselect 2", "twice"),
        ("-- name: A-b\nselect 1", "no statement name"),
        ("-- name: a\n-- only a comment\n", "empty"),
    ],
)
def test_a_wrong_block_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text, "x.sql")


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
        st.from_regex(r"select [1-9' %()a-z]+", fullmatch=True),
    )
)
def test_what_was_written_is_read(blocks: dict[str, str]) -> None:
    text = "".join(f"-- name: {name}\n-- why\n{body};\n\n" for name, body in blocks.items())
    assert parse(text, "x.sql") == {name: body.strip().encode() for name, body in blocks.items()}
