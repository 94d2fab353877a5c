"""Write a report as files, each replaced as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from models.errors import InputError
from tasks.report.drawing import Graph
from tasks.report.markdown import as_markdown
from tasks.report.models import Report

GRAPH = "graph.svg"
VALIDATION = "validation.html"


def write(
    report: Report, folder: Path, graph: Graph | None = None, validation: str | None = None
) -> tuple[Path, Path]:
    """`report.md`, `report.json` and, with `graph`, `graph.svg` in `folder`, which is made.

    `validation`: the page of what the checks said, which is put beside them and linked.

    Raises InputError where that is impossible.
    """
    markdown, data = folder / "report.md", folder / "report.json"
    if graph is not None:
        report = report.model_copy(update={"graph": GRAPH})
    if validation is not None:
        report = report.model_copy(update={"validation": VALIDATION})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if graph is not None:
            replace(folder / GRAPH, graph.svg)
        if validation is not None:
            replace(folder / VALIDATION, validation)
        replace(markdown, as_markdown(report, graph.mermaid if graph else None))
        replace(data, report.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise InputError(
            f"The report can't be written to {folder}: {error.strerror}. Name another folder with --out; "
            f"the results are kept, `penstock report` writes them again."
        ) from error
    return markdown, data


def replace(path: Path, content: str) -> None:
    """Put `content` in the place of a file, as a whole or not at all. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
