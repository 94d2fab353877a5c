"""Doc sync: what was merged since last time, which documents are wrong now, a proposal for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run, task_run

from models.settings import settings
from sql.connection import database
from sql.schema import prepare
from tasks.doc_sync import sync_documents

__all__ = ["doc_sync"]

NOT_CONFIGURED = (
    "No repository configured, so there is nothing to sync. "
    "Set PENSTOCK_DOCS_REPO (docs_repo in penstock.toml), or give the flow `repo`."
)


def _name() -> str:
    given = (flow_run.parameters or {}).get("repo") or settings().docs_repo
    return f"docs of {Path(given).name}" if given else "docs: no repository"


@flow(name="doc_sync", flow_run_name=_name, validate_parameters=True)
def doc_sync(
    repo: str | None = None, branch: str | None = None, since: str | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Propose corrections for the documents of `repo` (the setting `docs_repo` when None).

    `branch`: None takes the default branch. `since`: a revision or a day (2026-01-31) to begin at. `dry_run` stores
    nothing. Without a repository it says so and ends well: the nightly schedule runs everywhere. Returns the sync
    as JSON (tasks.doc_sync.SyncResult), with its `state` and `sentence`.
    """
    logger = get_run_logger()
    place = repo or settings().docs_repo
    if place is None:
        logger.info(NOT_CONFIGURED)
        return {"state": "not_configured", "sentence": NOT_CONFIGURED, "proposals": []}
    result = read_and_propose(str(place), branch, since, dry_run)
    for finding in result["findings"]:
        logger.warning(finding["message"])
    logger.info(result["sentence"])
    if result["state"] != "unchanged":
        report(result)
    return result


@task(
    name="read and propose",
    task_run_name=lambda: f"merges of {Path(task_run.parameters['repo']).name}",
    tags=["doc_sync"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def read_and_propose(repo: str, branch: str | None, since: str | None, dry_run: bool) -> dict[str, Any]:
    """One sync (tasks.doc_sync.sync_documents) on a connection of its own."""
    config = settings()
    with database(config) as db:
        prepare(db)
        with db.connect(autocommit=True, application_name="penstock doc_sync") as connection:
            return sync_documents(
                connection, Path(repo), branch=branch, since=since, home=config.home, dry_run=dry_run
            ).as_json()


def report(result: dict[str, Any]) -> None:
    """The proposals as a table, and their reasons as Markdown, in the Prefect UI."""
    rows = [
        {"document": found["document"], "what": found["title"], "patch": found["patch_path"] or "(dry run)"}
        for found in result["proposals"]
    ]
    create_table_artifact(rows, key="doc-sync-proposals", description=result["sentence"])
    parts = [f"# Documentation sync\n\n{result['sentence']}"]
    parts += [f"## {found['document']}\n\n{found['reason']}" for found in result["proposals"]]
    parts += [f"- {finding['message']}" for finding in result["findings"]]
    create_markdown_artifact("\n\n".join(parts), key="doc-sync", description=result["sentence"])
