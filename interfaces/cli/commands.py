"""Which module holds which command. Modules here import only typer and the models at the top."""

from __future__ import annotations

import typer

from interfaces.cli import (
    backends,
    boards,
    budgets,
    cache,
    db,
    decisions,
    docs,
    doctor,
    evaluate,
    export,
    graph,
    items,
    lint,
    memory,
    parse,
    pause,
    review,
    routing,
    run,
    runs,
    services,
    simulate,
    validation,
    write_back,
)


def register(app: typer.Typer) -> None:
    app.command("run")(run.run)
    app.add_typer(runs.app, name="runs")
    app.command("export")(export.export)
    app.command("demo")(run.demo)
    app.command("report")(run.report)
    app.command("parse")(parse.parse)
    app.command("lint")(lint.lint)
    app.add_typer(boards.app, name="boards")
    app.add_typer(items.app, name="items")
    app.add_typer(decisions.app, name="decisions")
    app.command("graph")(graph.graph)
    app.add_typer(review.app, name="review")
    app.add_typer(validation.app, name="validation")
    app.command("eval")(evaluate.evaluate)
    app.command("write-back")(write_back.write_back)
    app.command("pause")(pause.pause)
    app.command("resume")(pause.resume)
    app.add_typer(memory.app, name="memory")
    app.add_typer(docs.app, name="docs")
    app.command("up")(services.up)
    app.command("down")(services.down)
    app.command("status")(services.status)
    app.command("upkeep")(services.upkeep)
    app.command("backends")(backends.backends)
    app.command("routing")(routing.routing)
    app.command("budgets")(budgets.budgets)
    app.command("cache")(cache.cache)
    app.command("doctor")(doctor.doctor)
    app.add_typer(db.app, name="db")
    passing = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("simulate", context_settings=passing)(simulate.simulate)
