"""The peer of throughput (a): Prefect as its tutorial has it, a mapped task, so a task run per item.

A process of its own, against the Prefect server that the environment names. Standard input: the number of items.
Prints items a second twice: from the flow's call until Prefect has sent the server everything (which it does in the
background), and until the server has recorded every task run as completed, which is all that stays of it.
Its console log is taken off, as Penstock's is.
"""

from __future__ import annotations

import logging
import sys
import time

from prefect import flow, get_client, task
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.runtime import flow_run

WARM_UP = 20
PATIENCE = 120.0  # seconds


@task
def answer(number: int) -> dict[str, str]:
    return {"answer": "here is a short answer"}


@flow
def naive(items: int) -> str:
    if len([future.result() for future in answer.map(list(range(items)))]) != items:
        raise RuntimeError("naive Prefect lost items")
    return str(flow_run.id)


def wait_until_recorded(run: str, items: int) -> None:
    wanted = {
        "flow_runs": {"id": {"any_": [run]}},
        "task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + PATIENCE
        while (recorded := client.request("POST", "/task_runs/count", json=wanted).json()) != items:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server has recorded {recorded} of {items} task runs")
            time.sleep(0.02)


def main() -> None:
    for name in [None, *logging.root.manager.loggerDict]:
        logger = logging.getLogger(name)
        for handler in [each for each in logger.handlers if isinstance(each, PrefectConsoleHandler)]:
            logger.removeHandler(handler)
    items = int(sys.stdin.read())
    wait_until_recorded(naive(WARM_UP), WARM_UP)
    started = time.perf_counter()
    run = naive(items)
    EventsWorker.drain_all(timeout=PATIENCE)
    sent = time.perf_counter() - started
    wait_until_recorded(run, items)
    print(items / sent, items / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
