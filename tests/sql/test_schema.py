from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlmodel import SQLModel

import models.tables  # noqa: F401 - fills SQLModel.metadata
from models.errors import DatabaseError, SchemaError
from sql import schema
from sql.connection import Database
from sql.schema import VERSION_TABLE, check, current, head, migrate, prepare, revisions

# What compare_metadata does not see: opclasses, index parameters, predicates, generated columns, defaults.
SHAPE = {
    "columns": "select table_name, column_name, data_type, udt_name, is_nullable, column_default, is_identity,"
    " identity_generation, generation_expression, character_maximum_length from information_schema.columns"
    " where table_schema = 'public'",
    "types": "select attrelid::regclass::text, attname, format_type(atttypid, atttypmod) from pg_attribute"
    " join pg_class on pg_class.oid = attrelid"
    " where relnamespace = 'public'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped",
    "indexes": "select tablename, indexname, indexdef from pg_indexes where schemaname = 'public'",
    "constraints": "select conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)"
    " from pg_constraint where connamespace = 'public'::regnamespace and contype <> 'n'",
    "sequences": "select sequencename, data_type::text, start_value, increment_by from pg_sequences"
    " where schemaname = 'public'",
}


def shape(database: Database, query: str) -> set[tuple[object, ...]]:
    with database.connect() as connection:
        rows = connection.execute(query.encode()).fetchall()
    return {row for row in rows if not any(str(cell).startswith(VERSION_TABLE) for cell in row)}


@pytest.fixture
def created(empty_database: Database) -> Database:
    """A database made from the models instead of the migrations."""
    with empty_database.connect() as connection:
        connection.execute("create extension vector")
    SQLModel.metadata.create_all(empty_database.engine())
    return empty_database


@pytest.mark.parametrize("part", SHAPE)
def test_models_and_migrations_make_the_same_database(
    database: Database, created: Database, part: str
) -> None:
    migrated, modelled = shape(database, SHAPE[part]), shape(created, SHAPE[part])
    assert migrated
    assert sorted(map(str, migrated - modelled)) == sorted(map(str, modelled - migrated)) == []


def test_alembic_sees_no_difference_either(database: Database) -> None:
    with database.engine().connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True},
        )
        assert compare_metadata(context, SQLModel.metadata) == []


def test_alembics_history_is_linear_and_each_revision_has_its_sql() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.FOLDER))
    script = ScriptDirectory.from_config(config)
    history = [revision.revision for revision in script.walk_revisions()][::-1]
    assert script.get_heads() == [head()]
    assert history == revisions()
    for revision in script.walk_revisions():
        assert Path(revision.path).with_suffix(".sql").is_file()
        assert Path(revision.path).name.startswith(f"{revision.revision}_")


def test_migrating_twice_changes_nothing(database: Database) -> None:
    before = {part: shape(database, query) for part, query in SHAPE.items()}
    migrate(database)
    assert {part: shape(database, query) for part, query in SHAPE.items()} == before
    check(database)


def test_several_processes_may_migrate_at_once(empty_database: Database) -> None:
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(_migrate_elsewhere, empty_database.url) for _ in range(4)]:
            assert done.result(timeout=60) == ""
    check(empty_database)


def _migrate_elsewhere(url: str) -> str:
    import subprocess
    import sys

    script = (
        "import sys; from sql.connection import Database, parse_url; from sql.schema import migrate;"
        "migrate(Database(parse_url(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, timeout=60)
    return done.stderr


def test_an_empty_database_says_what_to_run(empty_database: Database) -> None:
    assert current(empty_database) is None
    with pytest.raises(SchemaError, match=r"no Penstock schema yet.*penstock db upgrade"):
        check(empty_database)
    with pytest.raises(SchemaError, match=r"penstock db upgrade"):
        prepare(empty_database)


def test_only_a_fresh_embedded_database_is_migrated_by_itself(empty_database: Database) -> None:
    empty_database.embedded = True
    prepare(empty_database)
    check(empty_database)
    prepare(empty_database)


@pytest.mark.parametrize("embedded", [True, False])
def test_an_older_schema_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch, embedded: bool
) -> None:
    database.embedded = embedded
    old = head()
    monkeypatch.setattr(schema, "revisions", lambda: [*revisions(), "9999"])
    with pytest.raises(
        SchemaError, match=rf"older schema {old}; this Penstock needs 9999.*penstock db upgrade"
    ):
        prepare(database)


def test_a_newer_schema_is_refused_and_left_alone(database: Database) -> None:
    with database.connect() as connection:
        connection.execute(
            sql.SQL("update {} set version_num = '9999'").format(sql.Identifier(VERSION_TABLE))
        )
    for refused in (check, migrate, prepare):
        with pytest.raises(SchemaError, match=r"the schema 9999.*Update penstock"):
            refused(database)
    assert current(database) == "9999"


@pytest.mark.parametrize(
    ("embedded", "way"), [(True, "PENSTOCK_HOME to a new folder"), (False, "name a new database")]
)
def test_a_schema_of_the_same_number_and_another_text_is_refused(
    database: Database, embedded: bool, way: str
) -> None:
    database.embedded = embedded
    check(database)
    with database.connect() as connection:
        connection.execute(
            sql.SQL("comment on table {} is 'of before'").format(sql.Identifier(VERSION_TABLE))
        )
    for refused in (check, migrate, prepare):
        with pytest.raises(SchemaError, match=rf"another state of the code.*{way}"):
            refused(database)


def test_a_revision_that_fails_changes_nothing(empty_database: Database) -> None:
    with empty_database.connect() as connection:
        connection.execute("create table item (mine text)")
    with pytest.raises(DatabaseError, match=r'"item" already exists\. Nothing was changed'):
        migrate(empty_database)
    assert current(empty_database) is None
    with empty_database.connect() as connection:
        names = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    assert names == [("item",)]


def test_a_user_who_may_not_is_told_what_to_grant(empty_database: Database) -> None:
    role = f"plain_{empty_database.name}"
    with empty_database.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
        try:
            parameters = {**psycopg.conninfo.conninfo_to_dict(empty_database.dsn), "user": role}
            with pytest.raises(DatabaseError, match=r"permission denied.*create extension vector"):
                migrate(Database({key: str(value) for key, value in parameters.items()}))
        finally:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def test_a_migration_waits_for_another_only_so_long(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", "50ms")
    with empty_database.connect(autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", [schema.LOCK])
        with pytest.raises(DatabaseError, match="Another process holds what it needs"):
            migrate(empty_database)
