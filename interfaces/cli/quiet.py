"""Prefect's side of a command: nothing of it on the terminal, all of it in the Prefect UI."""

from __future__ import annotations

import logging

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker, PrefectConsoleHandler

SECONDS = 5.0


def quiet_prefect() -> None:
    """Take Prefect's handlers off the terminal: its lines would tear the progress bar. Its API gets them all."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("prefect")]
    for logger in [logging.getLogger(), *map(logging.getLogger, names)]:
        for handler in [each for each in logger.handlers if isinstance(each, PrefectConsoleHandler)]:
            logger.removeHandler(handler)


def tell_prefect() -> None:
    """Send what this process still has to tell its Prefect server, before that server is let go."""
    APILogWorker.drain_all(timeout=SECONDS)
    EventsWorker.drain_all(timeout=SECONDS)
