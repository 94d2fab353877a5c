"""Prefect as its tutorial has it: `.map`, a task run per item, in as many threads as may be in flight.

It needs no environment of its own: Penstock brings Prefect, and this uses the same Prefect server."""

from __future__ import annotations

from typing import Any

import httpx
from prefect import flow, task, unmapped
from prefect.events.worker import EventsWorker
from prefect.task_runners import ThreadPoolTaskRunner

from bench.pressure.drivers.protocol import Order, done, order, ready


@task
def ask(given: Order, client: httpx.Client, model: str, prompt: str) -> str:
    reply = client.post(given.path, content=given.body(model, prompt))
    reply.raise_for_status()
    return given.text(reply.content)


@flow
def everything(given: Order, client: httpx.Client) -> None:
    models, prompts = [model for model, _ in given.work], [prompt for _, prompt in given.work]
    for future in ask.map(unmapped(given), unmapped(client), models, prompts):
        future.result()


def main() -> None:
    given = order()
    with httpx.Client(**given.client()) as client:
        ready()
        runner: Any = ThreadPoolTaskRunner(max_workers=given.in_flight)
        everything.with_options(task_runner=runner)(given, client)
        EventsWorker.drain_all(timeout=120)
        done()


if __name__ == "__main__":
    main()
