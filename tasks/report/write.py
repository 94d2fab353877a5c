"""Write a report as two files, each replaced as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from models.errors import InputError
from tasks.report.markdown import as_markdown
from tasks.report.models import Report


def write(report: Report, folder: Path) -> tuple[Path, Path]:
    """`report.md` and `report.json` in `folder`, which is made. Raises InputError where that is impossible."""
    markdown, data = folder / "report.md", folder / "report.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace(markdown, as_markdown(report))
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
