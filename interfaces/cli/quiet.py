"""Prefect's side of a command: nothing of it on the terminal, all of it in the Prefect UI."""

from __future__ import annotations

import logging
from pathlib import Path

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

SECONDS = 5.0
FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class _Kept(logging.FileHandler):
    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.setLevel(logging.WARNING)
        self.setFormatter(logging.Formatter(FORMAT))


def quiet_prefect(home: Path) -> None:
    """Take Prefect's handlers off the terminal: its lines would tear the progress bar. Its API gets them all.

    Warnings of the process go to PENSTOCK_HOME/logs/penstock.log.
    """
    names = [name for name in logging.root.manager.loggerDict if name.startswith("prefect")]
    for logger in [logging.getLogger(), *map(logging.getLogger, names)]:
        for handler in [each for each in logger.handlers if _prints(each)]:
            logger.removeHandler(handler)
    logging.raiseExceptions = False  # a log line that can't be delivered is not printed in its place
    if not any(isinstance(handler, _Kept) for handler in logging.root.handlers):
        (home / "logs").mkdir(parents=True, exist_ok=True)
        logging.root.addHandler(_Kept(home / "logs" / "penstock.log"))


def _prints(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)


def tell_prefect() -> None:
    """Send what this process still has to tell its Prefect server, before that server is let go."""
    APILogWorker.drain_all(timeout=SECONDS)
    EventsWorker.drain_all(timeout=SECONDS)
