"""The schema's version: bring a database up to date, or say why this code can't use it.

Revisions live in sql/migrations/versions, two files each with the same name: `0001_initial.sql`, plain SQL, and
`0001_initial.py`, which tells Alembic its number and its predecessor. History is linear and goes forward only;
the way back is a backup.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from models.errors import DatabaseError, SchemaError
from sql.connection import Database

__all__ = ["VERSION_TABLE", "check", "execute_beside", "head", "migrate", "prepare", "revisions"]

FOLDER = Path(__file__).parent / "migrations"
VERSION_TABLE = "penstock_schema"
# Any fixed number that no other program in the database is likely to use.
LOCK = 4270_0001
LOCK_TIMEOUT = "60s"


def revisions() -> list[str]:
    """The numbers of all revisions this code knows, oldest first. Needs no Alembic, whose import takes 0.4 s."""
    return sorted(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*_*.sql"))


def head() -> str:
    """The revision this code is written for."""
    return revisions()[-1]


def fingerprint() -> str:
    """Of all revisions' SQL: a database has it as the comment of its version table."""
    files = sorted((FOLDER / "versions").glob("[0-9]*_*.sql"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def current(database: Database) -> str | None:
    """The revision a database is at; None when it has no Penstock schema."""
    with database.connect(autocommit=True) as connection:
        return _current(connection)


def check(database: Database) -> None:
    """Raise SchemaError, saying what to run, unless the schema is exactly the one this code is written for."""
    with database.connect(autocommit=True) as connection:
        found = _current(connection)
        made_by = _fingerprint(connection) if found == head() else None
    if found == head():
        if made_by != fingerprint():
            raise SchemaError(
                f"The database at {database.place} was made by another state of the code, whose schema {found} was not "
                "this one. There is no way from one to the other: "
                + (
                    "set PENSTOCK_HOME to a new folder, or remove the old one."
                    if database.embedded
                    else "name a new database, and run `penstock db upgrade`."
                )
            )
        return
    if found is None:
        raise SchemaError(
            f"The database at {database.place} has no Penstock schema yet. Run `penstock db upgrade`."
        )
    if found in revisions():
        raise SchemaError(
            f"The database at {database.place} has the older schema {found}; this Penstock needs {head()}. "
            "Stop other Penstock processes, back up, and run `penstock db upgrade`."
        )
    raise SchemaError(
        f"The database at {database.place} has the schema {found}, and this Penstock only knows up to {head()}: "
        "a newer Penstock was here. Update penstock."
    )


def prepare(database: Database) -> None:
    """Make a fresh embedded database usable; check any other. Raises SchemaError as `check` does."""
    if database.embedded and current(database) is None:
        migrate(database)
    else:
        check(database)


def migrate(database: Database) -> None:
    """Bring the schema to `head()`. Does nothing where it is; several processes may call it at once.

    All outstanding revisions are one transaction: on an error nothing has changed. Raises SchemaError when the
    database is newer, DatabaseError when a revision fails.
    """
    import sqlalchemy
    from alembic import command
    from alembic.config import Config

    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: database.connect(statement_timeout=0, application_name="penstock migrate"),
        poolclass=sqlalchemy.NullPool,
    )
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        try:
            _lock(driver)
            found = _current(driver)
            if found is not None and found not in revisions():
                check(database)
            config = Config()
            config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            check(database)
        except psycopg.Error as error:
            raise _failed(database, error) from None
        except sqlalchemy.exc.DBAPIError as error:  # of Alembic's own statements
            if not isinstance(error.orig, psycopg.Error):
                raise
            raise _failed(database, error.orig) from None


def execute_beside(python_file: str) -> None:
    """For a revision: run the SQL file of the same name, whole, through the driver.

    SQLAlchemy's own ways would take `:x`, `%` or a `$$` body in it for parameters.
    """
    from alembic import op

    driver = op.get_bind().connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.execute(Path(python_file).with_suffix(".sql").read_bytes())


def _lock(driver: psycopg.Connection[TupleRow]) -> None:
    # Of the session, not the transaction: it must outlive a revision that commits in between.
    driver.execute(sql.SQL("set lock_timeout = {}").format(LOCK_TIMEOUT))
    driver.execute("select pg_advisory_lock(%s)", [LOCK])
    driver.commit()


def _current(connection: psycopg.Connection[TupleRow]) -> str | None:
    if connection.execute("select to_regclass(%s)", [VERSION_TABLE]).fetchone() == (None,):
        return None
    row = connection.execute(
        sql.SQL("select version_num from {}").format(sql.Identifier(VERSION_TABLE))
    ).fetchone()
    return str(row[0]) if row else None


def _fingerprint(connection: psycopg.Connection[TupleRow]) -> str | None:
    row = connection.execute(
        "select obj_description(to_regclass(%s), 'pg_class')", [VERSION_TABLE]
    ).fetchone()
    return None if row is None else row[0]


def _failed(database: Database, error: psycopg.Error) -> DatabaseError:
    what = f"The schema at {database.place} can't be upgraded: {error.diag.message_primary or error}"
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return DatabaseError(f"{what}. Another process holds what it needs: stop it and run this again.")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return DatabaseError(
            f"{what}. Grant this user `create` on the database and its schema, and let an administrator run "
            "`create extension vector` there. Nothing was changed."
        )
    return DatabaseError(f"{what}. Nothing was changed.")
