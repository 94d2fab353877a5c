"""Decompose: stored boards become graphs of what waits for what; what needs nothing more becomes ready."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from models.settings import settings
from models.words import counted
from sql.connection import database
from sql.schema import prepare
from tasks.decompose import Wishes, decompose_boards
from tasks.decompose.near import MOST, find_near
from tasks.recipes import load_recipes

__all__ = ["decompose"]


def _name() -> str:
    count = len((flow_run.parameters or {}).get("boards") or [])
    return f"order the work of {count} document{'' if count == 1 else 's'}"


@flow(name="decompose", flow_run_name=_name)
def decompose(boards: list[int], approve_plans: bool | None = None) -> list[dict[str, Any]]:
    """Give the items of these boards their needs and recipes, and split the large ones that have a structure.

    The same version of a board again changes nothing. `approve_plans`: a split waits for a person first; None takes
    the setting.

    Returns one tasks.decompose.Decomposition per board, as JSON, and shows them as a table.
    """
    found = order(boards, approve_plans)
    rows = [
        {
            name: one[name]
            for name in ("board_id", "leaves", "containers", "edges", "cycles", "parts", "plans")
        }
        | {"findings": len(one["findings"])}
        for one in found
    ]
    create_table_artifact(
        rows,
        key="work-graph",
        description=f"{counted(sum(row['leaves'] for row in rows), 'item')} to do, "
        f"{counted(sum(row['edges'] for row in rows), 'need')}",
    )
    return found


@task(
    name="order",
    task_run_name="needs and recipes",
    tags=["decompose"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def order(boards: list[int], approve_plans: bool | None = None) -> list[dict[str, Any]]:
    """Each board in a transaction of its own; then boards on which something of these depends or did."""
    config = settings()
    recipes = load_recipes(config)
    wishes = Wishes.of(config, approve=approve_plans)
    with database(config) as db:
        prepare(db)
        with db.connect(autocommit=True) as connection:
            found = decompose_boards(connection, boards, recipes, wishes)
            if any(each.changed for each in found):
                for recipe in find_near(connection, boards):
                    get_run_logger().info(
                        "More than %d items are open for the recipe %s: they were not compared for near duplicates.",
                        MOST,
                        recipe,
                    )
            return [each.as_json() for each in found]
