"""Which module holds which command. Modules here import only typer and the models at the top."""

from __future__ import annotations

import typer

from interfaces.cli import memory, parse, review, run


def register(app: typer.Typer) -> None:
    app.command("run")(run.run)
    app.command("demo")(run.demo)
    app.command("report")(run.report)
    app.command("parse")(parse.parse)
    app.add_typer(review.app, name="review")
    app.add_typer(memory.app, name="memory")
