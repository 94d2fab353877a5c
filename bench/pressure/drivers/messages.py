"""The two drivers of Dramatiq, whatever keeps its messages."""

from __future__ import annotations

import dramatiq
import httpx

from bench.pressure.drivers.asking import asker
from bench.pressure.drivers.protocol import Order, done, ready


def drain(broker: dramatiq.Broker, given: Order) -> None:
    with httpx.Client(**given.client()) as client:
        ask, finished = asker(given, client)
        actor = dramatiq.actor(ask)
        worker = dramatiq.Worker(broker, worker_threads=given.in_flight)
        ready()
        for model, prompt in given.work:
            actor.send(model, prompt)
        worker.start()
        finished.wait()
        done()
        worker.stop()
