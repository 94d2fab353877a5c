"""Write-back in a run: the marks of its boards' files are brought in step with what became of their items."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.errors import SourceError
from models.settings import settings
from sql.connection import database
from sql.statements import statement
from tasks.write_back import write_back

__all__ = ["write_marks"]


@task(
    name="write back",
    task_run_name="write marks back",
    tags=["write_back"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def write_marks(boards: list[int]) -> list[str]:
    """One sentence for each board whose file was written, or could not be. What is no file of this machine (a revision
    of a repository, an upload, standard input) has no marks to write."""
    config = settings()
    logger = get_run_logger()
    said: list[str] = []
    with database(config) as db, db.connect(autocommit=True) as connection:
        rows = connection.execute(statement("report.boards"), {"boards": boards}).fetchall()
        for source in (row[1] for row in rows):
            path = Path(source)
            if not path.is_absolute():
                continue
            if not path.is_file():
                said.append(f"{source}: there is no such file any more; its marks can't be written.")
                continue
            try:
                made = write_back(
                    connection,
                    path,
                    today=datetime.now(ZoneInfo(config.timezone)).date(),
                    max_bytes=config.max_source_bytes,
                    note=config.write_back_note,
                    zone=config.timezone,
                )
            except SourceError as error:
                said.append(str(error))
                logger.warning(str(error))
                continue
            if made.marks:
                said.append(f"{path.name}: {made.marks} mark{'s' if made.marks != 1 else ''}")
            said += [f"{path.name}, {sentence}" for sentence in made.not_written]
    return said
