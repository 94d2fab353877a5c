"""`penstock db`: the database's schema."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="The database: where it is, and its schema.")


@app.command()
def status() -> None:
    """Say where the database is, how it is run, and whether its schema fits this Penstock."""
    from interfaces.cli.render import console
    from models.settings import settings
    from sql.connection import database
    from sql.schema import current, head

    with database(settings()) as db:
        found = current(db) or "none"
        kind = "embedded, run by Penstock" if db.embedded else "by PENSTOCK_DATABASE_URL"
        fits = "fits" if found == head() else f"this Penstock needs {head()}: run `penstock db upgrade`"
        console().print(f"{db.place} ({kind})\nschema {found}: {fits}", markup=False)


@app.command()
def upgrade() -> None:
    """Bring the schema to what this Penstock needs. Stop other Penstock processes and back up first."""
    from interfaces.cli.render import console
    from models.settings import settings
    from sql.connection import database
    from sql.schema import current, head, migrate

    with database(settings()) as db:
        before = current(db) or "none"
        migrate(db)
        console().print(
            f"schema {before} -> {head()}" if before != head() else f"schema {before}: nothing to do"
        )
