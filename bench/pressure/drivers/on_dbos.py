"""DBOS: a workflow per item on a queue in Postgres, polled every 20 ms: with its default of a second it would stand
still for most of the time."""

from __future__ import annotations

import threading

import httpx
from dbos import DBOS

from bench.pressure.drivers.protocol import done, order, ready

POLL_SECONDS = 0.02


def main() -> None:
    given = order()
    url = f"postgresql://postgres@/{given.database}?host={given.socket}"
    DBOS(config={"name": "peer", "system_database_url": url, "log_level": "WARNING"})
    client = httpx.Client(**given.client())
    left = len(given.work)
    lock, finished = threading.Lock(), threading.Event()

    def ask(model: str, prompt: str) -> str:
        reply = client.post(given.path, content=given.body(model, prompt))
        reply.raise_for_status()
        return given.text(reply.content)

    step = DBOS.step()(ask)

    def item(model: str, prompt: str) -> str:
        nonlocal left
        text: str = step(model, prompt)
        with lock:
            left -= 1
            if not left:
                finished.set()
        return text

    workflow = DBOS.workflow()(item)
    DBOS.launch()
    DBOS.register_queue("ask", worker_concurrency=given.in_flight, polling_interval_sec=POLL_SECONDS)
    ready()
    handles = [DBOS.enqueue_workflow("ask", workflow, model, prompt) for model, prompt in given.work]
    finished.wait()
    handles[-1].get_result()  # the last one's result is stored
    done()
    DBOS.destroy()
    client.close()


if __name__ == "__main__":
    main()
