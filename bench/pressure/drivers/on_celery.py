"""Celery: a message per item in Redis, acknowledged when done; a worker of as many threads as may be in flight."""

from __future__ import annotations

import os
import threading

import httpx
from celery import Celery
from celery.signals import worker_ready

from bench.pressure.drivers.asking import asker
from bench.pressure.drivers.protocol import Order, done, order, ready
from bench.pressure.drivers.redis_server import running


def serve(given: Order, port: int) -> None:
    app = Celery("peer", broker=f"redis://127.0.0.1:{port}/0")
    app.conf.update(task_acks_late=True, task_ignore_result=True, worker_redirect_stdouts=False)
    ask, finished = asker(given, httpx.Client(**given.client()))
    task = app.task(name="ask")(ask)

    def drive() -> None:
        ready()
        for model, prompt in given.work:
            task.delay(model, prompt)
        finished.wait()
        done()
        app.control.shutdown()

    # A worker waits for messages in the main thread; it is there before the clock starts.
    worker_ready.connect(lambda **_: threading.Thread(target=drive, daemon=True).start(), weak=False)
    flags = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    app.worker_main(["worker", "--pool=threads", f"--concurrency={given.in_flight}", *flags])


def main() -> None:
    given = order()
    with running() as port:
        serve(given, port)


if __name__ == "__main__":
    os.environ["C_FORCE_ROOT"] = "1"  # a benchmark may be run by root
    main()
