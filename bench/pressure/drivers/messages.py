"""The two drivers of Dramatiq, whatever keeps its messages."""

from __future__ import annotations

import threading

import dramatiq
import httpx

from bench.pressure.drivers.protocol import Order, done, ready


def drain(broker: dramatiq.Broker, given: Order) -> None:
    left = len(given.work)
    lock, finished = threading.Lock(), threading.Event()
    with httpx.Client(**given.client()) as client:

        def ask(model: str, prompt: str) -> None:
            nonlocal left
            reply = client.post(given.path, content=given.body(model, prompt))
            reply.raise_for_status()
            given.text(reply.content)
            with lock:
                left -= 1
                if not left:
                    finished.set()

        actor = dramatiq.actor(ask)
        worker = dramatiq.Worker(broker, worker_threads=given.in_flight)
        ready()
        for model, prompt in given.work:
            actor.send(model, prompt)
        worker.start()
        finished.wait()
        done()
        worker.stop()
