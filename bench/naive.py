"""The peer of throughput (a): Prefect as its tutorial has it, a mapped task, so a task run per item.

A process of its own, against the Prefect server that the environment names. Standard input: the number of items.
Prints items a second, from the flow's call to its last result; Prefect's console log is taken off, as Penstock's is.
"""

from __future__ import annotations

import logging
import sys
import time

from prefect import flow, task
from prefect.logging.handlers import PrefectConsoleHandler

WARM_UP = 20


@task
def answer(number: int) -> dict[str, str]:
    return {"answer": "here is a short answer"}


@flow
def naive(items: int) -> int:
    return len([future.result() for future in answer.map(list(range(items)))])


def main() -> None:
    for name in [None, *logging.root.manager.loggerDict]:
        logger = logging.getLogger(name)
        for handler in [each for each in logger.handlers if isinstance(each, PrefectConsoleHandler)]:
            logger.removeHandler(handler)
    items = int(sys.stdin.read())
    naive(WARM_UP)
    started = time.perf_counter()
    if naive(items) != items:
        raise RuntimeError("naive Prefect lost items")
    print(items / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
