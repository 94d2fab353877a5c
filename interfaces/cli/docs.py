"""`penstock docs`: what merges made untrue in the documentation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Keep documentation in step with what was merged.")


@app.command()
def sync(
    repo: Annotated[
        Path | None, typer.Option(help="A git repository; without it, the setting docs_repo.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="A branch; without it, the default branch.")] = None,
    since: Annotated[str | None, typer.Option(help="Begin at this revision or day (2026-01-31).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the proposals, store nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read the merges since the last sync and propose a patch for each document that they made untrue.

    Never writes to the repository: patches go to PENSTOCK_HOME/proposals, each with a review. The nightly deployment
    `doc_sync/nightly` does the same.
    """
    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import clean, console, printable
    from models.errors import SettingsError
    from models.settings import settings
    from tasks.doc_sync import sync_documents

    config = settings()
    place = repo or config.docs_repo
    if place is None:
        raise SettingsError(
            "No repository: give --repo PATH, or set PENSTOCK_DOCS_REPO (docs_repo in penstock.toml)."
        )
    with opened(config) as (_, database), database.connect(autocommit=True) as connection:
        result = sync_documents(
            connection, place, branch=branch, since=since, home=config.home, dry_run=dry_run
        ).as_json()
    if json:
        sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    console().print(result["sentence"], markup=False)
    for finding in result["findings"]:
        console().print(f"  {clean(finding['message'])}", markup=False, style="yellow")
    for proposal in result["proposals"]:
        console().print(f"\n{clean(proposal['document'])}", markup=False, style="bold")
        console().print(printable(proposal["reason"]), markup=False)
        if proposal["patch_path"]:
            console().print(f"  {proposal['patch_path']}", markup=False, style="cyan")
