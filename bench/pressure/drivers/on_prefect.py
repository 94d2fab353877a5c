"""Prefect as its tutorial has it: `.map`, a task run per item, in as many threads as may be in flight.

It needs no environment of its own: Penstock brings Prefect, and this uses the same Prefect server."""

from __future__ import annotations

from typing import Any

import httpx
from prefect import flow, task, unmapped
from prefect.events.worker import EventsWorker
from prefect.task_runners import ThreadPoolTaskRunner

from bench.pressure.drivers.protocol import body, done, order, ready, text_of


@task
def ask(client: httpx.Client, model: str, prompt: str) -> str:
    reply = client.post("/api/chat", json=body(model, prompt))
    reply.raise_for_status()
    return text_of(reply.json())


@flow
def everything(client: httpx.Client, work: list[tuple[str, str]]) -> None:
    models, prompts = [model for model, _ in work], [prompt for _, prompt in work]
    for future in ask.map(unmapped(client), models, prompts):
        future.result()


def main() -> None:
    given = order()
    limits = httpx.Limits(max_connections=given.in_flight)
    with httpx.Client(base_url=given.url, limits=limits, timeout=None, trust_env=False) as client:
        ready()
        runner: Any = ThreadPoolTaskRunner(max_workers=given.in_flight)
        everything.with_options(task_runner=runner)(client, given.work)
        EventsWorker.drain_all(timeout=120)
        done()


if __name__ == "__main__":
    main()
