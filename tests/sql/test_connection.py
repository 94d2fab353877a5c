from __future__ import annotations

import asyncio
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from pgvector import HalfVector
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Session, select

from models.errors import DatabaseError
from models.settings import Settings
from models.tables.work import Board
from sql import connection as module
from sql.connection import Database, database, parse_url
from sql.schema import check, prepare

SECRET = "Tr0ub4dor"


def by_url(given: str | Database) -> Settings:
    url = given if isinstance(given, str) else given.url
    return Settings(database_url=SecretStr(url))


def opened(given: str | Database) -> None:
    with database(by_url(given)):
        pass


def with_dsn(base: Database, **changes: str) -> Database:
    return Database({**parse_url(base.url), **changes})


# --- what a URL becomes


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://ann:s%40fe@db.example:6432/work",
            {"user": "ann", "password": "s@fe", "host": "db.example", "port": "6432", "dbname": "work"},
        ),
        ("postgres://db.example/work", {"host": "db.example", "dbname": "work"}),
        ("postgresql+psycopg://ann@/work?host=/run/pg", {"user": "ann", "host": "/run/pg", "dbname": "work"}),
        (
            "postgresql://h/work?sslmode=verify-full&connect_timeout=3",
            {"host": "h", "dbname": "work", "sslmode": "verify-full", "connect_timeout": "3"},
        ),
        ("  postgresql://[::1]:5432/work\n", {"host": "::1", "port": "5432", "dbname": "work"}),
    ],
)
def test_a_url_is_read(url: str, expected: dict[str, str]) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://ann:{SECRET}@h/work",
        f"ann:{SECRET}@h/work",
        f"postgresql://ann:{SECRET}@more@h/work",
        f"postgresql://ann@h:{SECRET}/work",
        f"postgresql://ann:{SECRET}@h:54x/work",
        f"postgresql://ann:{SECRET}%zz@h/work",
        f"postgresql://h/work?{SECRET}=1",
        f"postgresql://ann:{SECRET}@h",
        f"host=h password={SECRET}",
    ],
)
def test_a_wrong_url_is_one_sentence_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        opened(url)
    assert "PENSTOCK_DATABASE_URL" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(
    user=st.text("abcXYZ @:/?#%=&é", min_size=1, max_size=12),
    password=st.text("abcXYZ @:/?#%=&'\\é", min_size=1, max_size=12),
    name=st.text("abcXYZ_-", min_size=1, max_size=12),
)
def test_urls_survive_any_password(user: str, password: str, name: str) -> None:
    parameters = {"user": user, "password": password, "host": "h", "port": "1", "dbname": name}
    for place in ("h", "/run/with space"):
        at = Database({**parameters, "host": place})
        assert parse_url(at.url) == {**parameters, "host": place}
        assert psycopg.conninfo.conninfo_to_dict(at.dsn) == {**parameters, "host": place}
        prefect = sqlalchemy.make_url(at.prefect_url)
        assert (prefect.username, prefect.password) == (user, password)
        assert prefect.query.get("host", prefect.host) == place
        assert prefect.database == f"{name}_prefect"


def test_nothing_that_prints_shows_the_password() -> None:
    at = Database({"user": "ann", "password": SECRET, "host": "h", "dbname": "work"})
    assert SECRET not in f"{at} {at!r} {at.place}"


def test_prefect_asks_for_the_same_tls() -> None:
    parameters = {"user": "ann", "host": "h", "dbname": "work", "sslmode": "verify-full"}
    assert sqlalchemy.make_url(Database(parameters).prefect_url).query == {"ssl": "verify-full"}


# --- servers that can't be used


def test_a_host_that_does_not_resolve() -> None:
    with pytest.raises(
        DatabaseError,
        match=r"^Can't connect to Postgres at ann@nowhere\.invalid/work: .*PENSTOCK_DATABASE_URL",
    ) as caught:
        opened(f"postgresql://ann:{SECRET}@nowhere.invalid/work")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DatabaseError, match=rf"ann@127\.0\.0\.1:{port}/work.*[Rr]efused"):
        opened(f"postgresql://ann:{SECRET}@127.0.0.1:{port}/work")


def test_a_server_that_accepts_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(DatabaseError, match="timeout"):
            opened(f"postgresql://ann@127.0.0.1:{port}/work?connect_timeout=2")


def _reloaded(locked: Database) -> None:
    """Wait until the server has read its rules: until then it lets anyone in."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            opened(locked)
        except DatabaseError:
            return
    pytest.fail("the server did not read its rules")


def test_a_wrong_password(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        role = sql.Identifier(f"locked_{database.name}")
        connection.execute(sql.SQL("create role {} login password 'right'").format(role))
        row = connection.execute("show hba_file").fetchone()
        assert row is not None
        rules = Path(row[0])
        before = rules.read_text()
        try:
            rules.write_text(f"local all locked_{database.name} scram-sha-256\n{before}")
            connection.execute("select pg_reload_conf()")
            locked = with_dsn(database, user=f"locked_{database.name}")
            _reloaded(locked)
            wrong = with_dsn(locked, password=SECRET)
            with pytest.raises(
                DatabaseError, match=r"password authentication failed.*Correct the user and password"
            ) as caught:
                opened(wrong)
            assert SECRET not in str(caught.value)
            with pytest.raises(DatabaseError, match=r"password.*Correct the user and password"):
                opened(locked)
            with with_dsn(locked, password="right").connect():
                pass
        finally:
            rules.write_text(before)
            connection.execute("select pg_reload_conf()")
            connection.execute(sql.SQL("drop role {}").format(role))


def test_an_old_server_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_SERVER", 990000)
    with pytest.raises(DatabaseError, match="is version 18; Penstock needs"):
        opened(database)


def test_a_server_without_pgvector_is_refused(empty_database: Database) -> None:
    with empty_database.connect(autocommit=True) as connection:
        name = sql.Identifier(empty_database.name)
        connection.execute(sql.SQL("alter database {} set extension_control_path = '/nowhere'").format(name))
    with pytest.raises(DatabaseError, match="has no pgvector"):
        opened(empty_database)


def test_an_old_pgvector_is_refused(empty_database: Database) -> None:
    with empty_database.connect(autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute("update pg_extension set extversion = '0.6.2' where extname = 'vector'")
    with pytest.raises(DatabaseError, match=r"has pgvector 0\.6\.2.*alter extension vector update"):
        opened(empty_database)


def test_another_encoding_is_refused(database: Database) -> None:
    other = f"{database.name}_ascii"
    with database.connect(autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} encoding 'SQL_ASCII' locale 'C' template template0").format(
                sql.Identifier(other)
            )
        )
        try:
            with pytest.raises(DatabaseError, match="encoding SQL_ASCII"):
                opened(with_dsn(database, dbname=other))
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(other)))


def test_windows_is_told_to_bring_a_database(settings_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(DatabaseError, match=r"Windows.*PENSTOCK_DATABASE_URL"), database(Settings()):
        pass


# --- what a connection is


def test_a_connection_has_the_options_of_the_hot_path(database: Database) -> None:
    ask = "select current_setting(%s)"
    with database.connect(statement_timeout=1.5, application_name="drain") as connection:
        for name, value in {
            "plan_cache_mode": "force_custom_plan",
            "statement_timeout": "1500ms",
            "application_name": "drain",
            "client_encoding": "UTF8",
        }.items():
            assert connection.execute(ask, [name]).fetchone() == (value,)
        assert not connection.autocommit
    assert connection.closed


def test_options_in_the_url_are_kept_and_win(database: Database) -> None:
    given = with_dsn(database, options="-c search_path=elsewhere -c plan_cache_mode=auto")
    with given.connect() as connection:
        row = connection.execute("select current_setting('search_path'), current_setting('plan_cache_mode')")
        assert row.fetchone() == ("elsewhere", "auto")


def test_the_environment_does_not_lead_elsewhere(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGHOST": "nowhere",
        "PGUSER": "x",
        "PGDATABASE": "x",
        "PGOPTIONS": "-c x.y=1",
    }.items():
        monkeypatch.setenv(name, value)
    with database.connect() as connection:
        assert connection.execute("select current_database()").fetchone() == (database.name,)


async def test_vectors_go_both_ways_sync_and_async(database: Database) -> None:
    vector = HalfVector([0.5, -1.0, 2.0])
    with database.connect() as connection:
        row = connection.execute("select %b::halfvec(3)", [vector]).fetchone()
        assert row == (vector,)
    async with await database.aconnect() as other:
        cursor = await other.execute("select %b::halfvec(3), current_setting('plan_cache_mode')", [vector])
        assert await cursor.fetchone() == (vector, "force_custom_plan")


async def test_aconnect_refuses_in_one_sentence() -> None:
    with pytest.raises(DatabaseError, match="Can't connect"):
        await Database({"host": "/nowhere", "dbname": "x"}).aconnect()


def test_a_new_connection_is_not_inside_a_transaction(database: Database) -> None:
    with database.connect() as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_sqlmodel_reads_and_writes_through_the_engine(database: Database) -> None:
    with Session(database.engine()) as session:
        session.add(Board(source="a.md", dialect="gfm", encoding="utf-8", sha256="0"))
        session.commit()
        assert [board.source for board in session.exec(select(Board))] == ["a.md"]


async def test_prefects_database_is_made_once_and_asyncpg_reaches_it(database: Database) -> None:
    with ThreadPoolExecutor(3) as threads:
        await asyncio.gather(
            *(
                asyncio.get_running_loop().run_in_executor(threads, database.create_prefect_database)
                for _ in range(3)
            )
        )
    engine = create_async_engine(database.prefect_url)
    try:
        async with engine.connect() as connection:
            found = await connection.scalar(sqlalchemy.text("select current_database()"))
        assert found == database.prefect_name
    finally:
        await engine.dispose()
        with database.connect(autocommit=True) as direct:
            direct.execute(
                sql.SQL("drop database {} with (force)").format(sql.Identifier(database.prefect_name))
            )


def test_a_user_who_may_not_make_prefects_database_is_told(database: Database) -> None:
    role = f"plain_{database.name}"
    with database.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
        try:
            with pytest.raises(DatabaseError, match=rf"permission denied.*createdb {database.prefect_name}"):
                with_dsn(database, user=role).create_prefect_database()
        finally:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


# --- the whole way


def test_a_url_is_used_as_it_is(database_env: Database) -> None:
    with database(Settings()) as reached:
        assert not reached.embedded
        assert reached.name == database_env.name
        check(reached)


def test_the_embedded_database_is_made_migrated_and_found_again(settings_env: Path) -> None:
    with database(Settings()) as first:
        prepare(first)
        with first.connect() as connection:
            connection.execute("insert into doc_sync (repo, branch, last_commit) values ('r', 'b', 'c')")
    with database(Settings()) as second:
        prepare(second)
        with second.connect() as connection:
            assert connection.execute("select repo from doc_sync").fetchall() == [("r",)]
    assert not (settings_env / "postgres/data/postmaster.pid").exists()
