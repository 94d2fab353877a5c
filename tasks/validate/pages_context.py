"""The recipes' suites as a Great Expectations project: what its users expect to find, and can run themselves.

A file context with a suite and a checkpoint per recipe, over one data-frame asset. Penstock itself does not read it: a
recipe's file is what counts, and the project is written anew from it. What others added to the project stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

from models.errors import InputError, ServiceError
from models.recipe import Recipe
from tasks.foreign import cut
from tasks.validate import close
from tasks.validate.engine import ENGINE
from tasks.validate.rules import IN_ORDER

SOURCE, ASSET, BATCH = "penstock", "answers", "whole"
OURS = "penstock_recipe"
"""The key of a suite's meta data that has its recipe's hash: by it our suites are known from others."""

SECONDS = 180.0
INDEX = "item_id"


def write_context(recipes: Mapping[str, Recipe], folder: Path) -> Path:
    """Write or renew the project in `folder`/gx and give that place. Blocks: the import takes seconds.

    Great Expectations has one current project per process. So the engine is closed after it: the next batch makes a
    context of its own again. Raises InputError where it can't be written, ServiceError where it takes too long.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return ENGINE.submit(_write, list(recipes.values()), folder).result(SECONDS)
    except OSError as error:
        raise InputError(
            f"The project can't be written to {folder}: {error.strerror or error}. Name another folder with --out."
        ) from error
    except FutureTimeout as error:
        raise ServiceError(
            f"Great Expectations did not write its project within {SECONDS:g} s. Try again when the machine is idle."
        ) from error
    finally:
        close()


def _write(recipes: Iterable[Recipe], folder: Path) -> Path:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.expectations.registry import get_expectation_impl

    context: Any = gx.get_context(mode="file", project_root_dir=str(folder))
    context.enable_analytics(False)
    batch = _batch(context)
    names = set()
    for recipe in recipes:
        names.add(recipe.name)
        expectations = []
        for check in [IN_ORDER, *recipe.header.checks]:
            try:
                expectations.append(
                    get_expectation_impl(check.expect)(
                        **check.with_, notes=check.says, meta={"says": check.says}
                    )
                )
            except (
                Exception
            ) as error:  # whatever the library raises, the recipe's file is what is to be mended
                raise InputError(
                    f"{recipe.path}: the check {check.expect} can't be used: {cut(str(error), 200)}. Correct it."
                ) from error
        suite = context.suites.add_or_update(
            gx.ExpectationSuite(name=recipe.name, expectations=expectations, meta={OURS: recipe.hash})
        )
        definition = context.validation_definitions.add_or_update(
            gx.ValidationDefinition(name=recipe.name, data=batch, suite=suite)
        )
        context.checkpoints.add_or_update(
            gx.Checkpoint(
                name=recipe.name,
                validation_definitions=[definition],
                result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [INDEX]},
            )
        )
    _remove_others(context, names)
    return folder / "gx"


def _batch(context: Any) -> Any:
    """Our data source, asset and batch definition, as they are or new."""
    known = {source["name"] for source in context.list_datasources()}
    source = context.data_sources.get(SOURCE) if SOURCE in known else context.data_sources.add_pandas(SOURCE)
    assets = source.get_asset_names()
    asset = source.get_asset(ASSET) if ASSET in assets else source.add_dataframe_asset(ASSET)
    for batch in asset.batch_definitions:
        if batch.name == BATCH:
            return batch
    return asset.add_batch_definition_whole_dataframe(BATCH)


def _remove_others(context: Any, names: set[str]) -> None:
    """What is ours and of a recipe that is gone."""
    gone = [
        suite.name for suite in context.suites.all() if OURS in (suite.meta or {}) and suite.name not in names
    ]
    for name in gone:
        for kept in (context.checkpoints, context.validation_definitions, context.suites):
            kept.delete(name)
