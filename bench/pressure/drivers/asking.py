"""What the threads of a worker do with a message, whatever brought it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx

from bench.pressure.drivers.protocol import Order


def asker(given: Order, client: httpx.Client) -> tuple[Callable[[str, str], None], threading.Event]:
    """What asks the server one prompt of a model, and what is set when the last one was answered."""
    left = len(given.work)
    lock, finished = threading.Lock(), threading.Event()

    def ask(model: str, prompt: str) -> None:
        nonlocal left
        reply = client.post(given.path, content=given.body(model, prompt))
        reply.raise_for_status()
        given.text(reply.content)
        with lock:
            left -= 1
            if not left:
                finished.set()

    return ask, finished
