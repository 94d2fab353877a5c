"""How the benchmark speaks with a driver: one line of JSON with the work, then "ready", "go", "done".

Only the standard library, for it runs in the peers' own environment. What lies before "ready" is not in the clock:
starting Python, imports, connections, tables. What lies between "go" and "done" is: queueing the work, too.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

CONTEXT = 8192
"""Tokens. The same in every request, or Ollama would load the model again."""


@dataclass(frozen=True)
class Order:
    url: str  # of the server
    work: list[tuple[str, str]]  # model and prompt, in the order in which they are given
    in_flight: int
    conninfo: str  # of a Postgres database of its own, "" for who needs none
    socket: str  # the folder of that server's socket
    database: str


def order() -> Order:
    values: dict[str, Any] = json.loads(sys.stdin.readline())
    values["work"] = [(model, prompt) for model, prompt in values["work"]]
    return Order(**values)


def ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def done() -> None:
    """Stays until the benchmark has read what this process used."""
    print("done", flush=True)
    sys.stdin.readline()


def body(model: str, prompt: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "stream": False,
        "keep_alive": "10m",
        "options": {"num_ctx": CONTEXT, "num_predict": 64},
    }


def text_of(page: dict[str, Any]) -> str:
    text: str = page["message"]["content"]
    if not text:
        raise RuntimeError("an empty answer")
    return text
