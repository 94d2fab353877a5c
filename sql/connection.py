"""The database: how it is found, what it must be able to do, and how one connects to it.

    with database(settings()) as db:
        prepare(db)                      # sql.schema: migrates a fresh embedded database, checks any other
        with db.connect() as connection: ...

A `Database` is cheap, thread-safe and holds no connection. The embedded server runs while any process is inside
`database(...)`; see sql/embedded.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg.types import TypeInfo

from models.errors import DatabaseError
from models.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["Database", "database"]

LEAST_SERVER = 150000
LEAST_PGVECTOR = (0, 7)  # the first with halfvec
STATEMENT_TIMEOUT = 60.0
VARIABLE = "PENSTOCK_DATABASE_URL"


class Database:
    """One database on one server, by libpq parameters. `embedded`: Penstock runs the server itself."""

    def __init__(self, parameters: Mapping[str, str], *, embedded: bool = False) -> None:
        self._parameters = dict(parameters)
        self.embedded = embedded
        self._vector_types: dict[str, TypeInfo] = {}

    def __repr__(self) -> str:
        return f"<Database {self.place}>"

    @property
    def name(self) -> str:
        """The database's name."""
        return self._parameters["dbname"]

    @property
    def place(self) -> str:
        """Where it is, for messages: user, host, port and name, never the password."""
        values = self._parameters
        where = values.get("host") or values.get("hostaddr") or "the local socket"
        port = f":{values['port']}" if "port" in values else ""
        return f"{values.get('user', 'the default user')}@{where}{port}/{self.name}"

    @property
    def dsn(self) -> str:
        """libpq conninfo with the password, without Penstock's session options. Not for logs."""
        return make_conninfo("", **self._parameters)

    @property
    def url(self) -> str:
        """`postgresql+psycopg://...` for SQLAlchemy, with the password. Not for logs."""
        return self._url("postgresql+psycopg")

    @property
    def prefect_name(self) -> str:
        """The database beside this one that the Prefect server keeps: `penstock_prefect` for `penstock`."""
        return f"{self.name}_prefect"

    @property
    def prefect_url(self) -> str:
        """`postgresql+asyncpg://...` of the Prefect server's database. `create_prefect_database` makes it.

        asyncpg takes no sslrootcert by URL: for a private authority set PGSSLROOTCERT for the server process.
        """
        other = {**self._parameters, "dbname": self.prefect_name}
        kept = {"user", "password", "host", "port", "dbname"}
        known = {key: value for key, value in other.items() if key in kept}
        if mode := other.get("sslmode"):
            known["ssl"] = mode
        return Database(known)._url("postgresql+asyncpg")

    def connect(
        self,
        *,
        autocommit: bool = False,
        statement_timeout: float = STATEMENT_TIMEOUT,
        application_name: str = "penstock",
    ) -> psycopg.Connection[TupleRow]:
        """A new connection; tuples as rows. The caller closes it (`with` commits or rolls back, and closes).

        `statement_timeout` in seconds; 0 for none. The pgvector types are registered where the extension exists.
        Raises DatabaseError.
        """
        try:
            connection = psycopg.Connection.connect(
                **self._session(statement_timeout, application_name), autocommit=autocommit
            )
        except psycopg.Error as error:
            raise self._refused(error) from None
        try:
            self._register(connection, self._types(connection))
        except psycopg.Error as error:
            connection.close()
            raise self._refused(error) from None
        return connection

    async def aconnect(
        self,
        *,
        autocommit: bool = False,
        statement_timeout: float = STATEMENT_TIMEOUT,
        application_name: str = "penstock",
    ) -> psycopg.AsyncConnection[TupleRow]:
        """The same as `connect`, for asyncio."""
        try:
            connection = await psycopg.AsyncConnection.connect(
                **self._session(statement_timeout, application_name), autocommit=autocommit
            )
        except psycopg.Error as error:
            raise self._refused(error) from None
        try:
            self._register(connection, await self._atypes(connection))
        except psycopg.Error as error:
            await connection.close()
            raise self._refused(error) from None
        return connection

    @cached_property
    def _engine(self) -> Engine:
        import sqlalchemy

        def creator() -> psycopg.Connection[TupleRow]:
            return self.connect(application_name="penstock admin")

        # No pool: reads of the admin plane are rare, and an idle engine then holds no connection.
        return sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=creator, poolclass=sqlalchemy.NullPool
        )

    def engine(self) -> Engine:
        """The SQLAlchemy engine for SQLModel's administrative reads and writes; keeps no connection open."""
        return self._engine

    def create_prefect_database(self) -> None:
        """Make the Prefect server's database where it is missing. Raises DatabaseError when not allowed to."""
        with self.connect(autocommit=True) as connection:
            found = "select 1 from pg_database where datname = %s"
            if connection.execute(found, [self.prefect_name]).fetchone() is not None:
                return
            try:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(self.prefect_name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                return  # another process made it just now
            except psycopg.Error as error:
                raise DatabaseError(
                    f"The database {self.prefect_name!r} for the Prefect server can't be made at {self.place}: "
                    f"{_primary(error)}. Create it yourself (`createdb {self.prefect_name}`) for this user."
                ) from None

    def _url(self, driver: str) -> str:
        """A URL that libpq and SQLAlchemy read alike: SQLAlchemy's own writes a space as +, which libpq keeps."""
        values = dict(self._parameters)
        user, password, name = values.pop("user", None), values.pop("password", None), values.pop("dbname")
        host, port = values.get("host", ""), values.get("port", "")
        place = ""
        # A list of hosts or a socket's folder can't stand between @ and /.
        if host and "/" not in host and "," not in host + port:
            place = f"[{host}]" if ":" in host else _quoted(host)
            place += f":{port}" if port else ""
            values = {key: value for key, value in values.items() if key not in ("host", "port")}
        who = _quoted(user) if user else ""
        who += f":{_quoted(password)}" if password else ""
        query = "&".join(f"{key}={_quoted(value)}" for key, value in values.items())
        return f"{driver}://{who}{'@' if who else ''}{place}/{_quoted(name)}{'?' if query else ''}{query}"

    def _session(self, statement_timeout: float, application_name: str) -> dict[str, Any]:
        # Plans for the values at hand: a generic plan of the claim reads the whole backlog (800 times slower).
        options = f"-c plan_cache_mode=force_custom_plan -c statement_timeout={int(statement_timeout * 1000)}"
        own = {
            "application_name": application_name,
            "connect_timeout": "10",
            "tcp_user_timeout": "30000",  # a server that vanished is noticed in half a minute, not in hours
            "keepalives_idle": "30",
            "keepalives_interval": "10",
            "keepalives_count": "3",
            "client_encoding": "UTF8",
        }
        return {
            **own,
            **self._parameters,
            "options": f"{options} {self._parameters.get('options', '')}".strip(),
        }

    def _refused(self, error: psycopg.Error) -> DatabaseError:
        if self.embedded:
            hint = "The embedded Postgres may just be restarting; run this again"
        elif "authentication failed" in str(error) or "no password supplied" in str(error):
            hint = f"Correct the user and password in {VARIABLE}"
        elif "startup parameter" in str(error):
            hint = f"Let {VARIABLE} name Postgres itself: a pooler such as PgBouncer drops session settings"
        else:
            hint = f"Check {VARIABLE} and that the server runs and can be reached from here"
        return DatabaseError(f"Can't connect to Postgres at {self.place}: {_primary(error)}. {hint}.")

    def _types(self, connection: psycopg.Connection[TupleRow]) -> dict[str, TypeInfo]:
        """The types' numbers differ per database and never change in one: asked once, four round trips saved."""
        if not self._vector_types:
            with connection.transaction():
                found = {name: TypeInfo.fetch(connection, name) for name in ("vector", "halfvec")}
            self._vector_types = {name: info for name, info in found.items() if info is not None}
        return self._vector_types

    async def _atypes(self, connection: psycopg.AsyncConnection[TupleRow]) -> dict[str, TypeInfo]:
        if not self._vector_types:
            async with connection.transaction():
                found = {name: await TypeInfo.fetch(connection, name) for name in ("vector", "halfvec")}
            self._vector_types = {name: info for name, info in found.items() if info is not None}
        return self._vector_types

    @staticmethod
    def _register(
        connection: psycopg.Connection[TupleRow] | psycopg.AsyncConnection[TupleRow],
        types: Mapping[str, TypeInfo],
    ) -> None:
        if not types:
            return
        from pgvector.psycopg.halfvec import register_halfvec_info
        from pgvector.psycopg.vector import register_vector_info

        for name, register in (("vector", register_vector_info), ("halfvec", register_halfvec_info)):
            if name in types:
                register(connection, types[name])


@contextmanager
def database(settings: Settings) -> Iterator[Database]:
    """The database of these settings, checked: PENSTOCK_DATABASE_URL, else the embedded one, started or shared.

    Its schema is not looked at: see sql.schema.prepare. Raises DatabaseError with one sentence on what to do.
    """
    if settings.database_url is not None:
        given = Database(parse_url(settings.database_url.get_secret_value()))
        _check_server(given)
        yield given
        return
    if sys.platform == "win32":
        raise DatabaseError(
            "The embedded Postgres does not run on Windows yet: its supervisor needs flock. "
            f"Set {VARIABLE} to a Postgres 15 or newer with pgvector."
        )
    from sql.embedded import EmbeddedPostgres

    with EmbeddedPostgres(settings.home) as server:
        parameters = {"host": str(server.socket_folder), "user": "postgres", "dbname": "penstock"}
        own = Database(parameters, embedded=True)
        _create(own)
        yield own


def parse_url(url: str) -> dict[str, str]:
    """libpq parameters of a URL. Raises DatabaseError, never showing any part of it: it may hold a password."""
    wrong = DatabaseError(
        f"{VARIABLE} is not a Postgres URL. Write postgresql://user:password@host:5432/name, "
        "with %40 for an @ and %2F for a / in the password."
    )
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise wrong
    if rest.partition("?")[0].count("@") > 1:
        raise wrong  # libpq would take a piece of the password for the host, and show it
    try:
        found = conninfo_to_dict(f"postgresql://{rest}")
    except psycopg.Error:
        raise wrong from None
    parameters = {key: str(value) for key, value in found.items() if value is not None}
    if not all(port.isdecimal() for port in parameters.get("port", "5432").split(",")):
        raise wrong
    if not parameters.get("dbname"):
        raise DatabaseError(
            f"{VARIABLE} names no database. Write its name at the end: ...@host:5432/penstock."
        )
    return parameters


def _check_server(given: Database) -> None:
    with given.connect(autocommit=True) as connection:
        number = connection.info.server_version
        if number < LEAST_SERVER:
            raise DatabaseError(
                f"The Postgres at {given.place} is version {number // 10000}; Penstock needs 15 or newer. "
                "Upgrade it, or use another server."
            )
        row = connection.execute(
            "select pg_is_in_recovery(), current_setting('server_encoding'),"
            " (select coalesce(installed_version, default_version)"
            "  from pg_available_extensions where name = 'vector')"
        ).fetchone()
    assert row is not None
    standby, encoding, vector = row
    if standby:
        raise DatabaseError(
            f"The Postgres at {given.place} is a read-only standby. Use the primary's address."
        )
    if encoding != "UTF8":
        raise DatabaseError(
            f"The database at {given.place} has the encoding {encoding}; Penstock needs UTF8. "
            "Create another: `createdb --encoding=UTF8 --template=template0 NAME`."
        )
    if vector is None:
        raise DatabaseError(
            f"The Postgres at {given.place} has no pgvector. Install the package for its version "
            "(https://github.com/pgvector/pgvector), or use a server that has it."
        )
    if tuple(int(part) for part in vector.split(".")[:2]) < LEAST_PGVECTOR:
        raise DatabaseError(
            f"The Postgres at {given.place} has pgvector {vector}; Penstock needs 0.7 or newer. "
            "Upgrade it, then run `alter extension vector update` in that database."
        )


def _create(own: Database) -> None:
    maintenance = Database({**own._parameters, "dbname": "postgres"}, embedded=True)
    with maintenance.connect(autocommit=True) as connection:
        found = "select 1 from pg_database where datname = %s"
        if connection.execute(found, [own.name]).fetchone() is not None:
            return
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(own.name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return  # another process made it just now


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _primary(error: psycopg.Error) -> str:
    """The telling line of an error, without libpq's 'connection failed:' frame around it."""
    text = error.diag.message_primary or str(error).strip() or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
