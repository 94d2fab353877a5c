"""Prefect's console lines would tear the progress bar; its log stays in the Prefect UI."""

from __future__ import annotations

import logging

from prefect.logging.handlers import PrefectConsoleHandler


def quiet_prefect() -> None:
    """Take Prefect's handlers off the terminal. What goes to its API, and so to its UI, is not touched."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("prefect")]
    for logger in [logging.getLogger(), *map(logging.getLogger, names)]:
        for handler in [each for each in logger.handlers if isinstance(each, PrefectConsoleHandler)]:
            logger.removeHandler(handler)
