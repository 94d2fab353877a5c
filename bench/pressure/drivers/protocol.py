"""How the benchmark speaks with a driver: one line of JSON with the work, then "ready", "go", "done".

No more than the standard library, httpx and orjson, for it runs in the peers' own environment. What lies before "ready"
is not in the clock: starting Python, imports, connections, tables. What lies between "go" and "done" is: queueing the
work, too.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

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
    chat: dict[str, Any] | None = (
        None  # a streamed request of an OpenAI-compatible server, without its prompt
    )

    @property
    def path(self) -> str:
        return "/api/chat" if self.chat is None else "/v1/chat/completions"

    def client(self) -> dict[str, Any]:
        """Of an HTTP client of httpx, the same for all."""
        return {
            "base_url": self.url,
            "limits": httpx.Limits(max_connections=self.in_flight),
            "timeout": None,
            "trust_env": False,
            "headers": {"Content-Type": "application/json"},
        }

    def body(self, model: str, prompt: str) -> bytes:
        message = {"role": "user", "content": prompt}
        if self.chat is None:
            asked = {
                "messages": [message],
                "stream": False,
                "keep_alive": "10m",
                "options": {"num_ctx": CONTEXT, "num_predict": 64},
            }
        else:
            asked = {**self.chat, "messages": [*self.chat["messages"], message]}
        return orjson.dumps({"model": model, **asked})

    def text(self, reply: bytes) -> str:
        """The answer. Raises RuntimeError for an empty one."""
        if self.chat is None:
            text: str = orjson.loads(reply)["message"]["content"]
        else:
            pages = [orjson.loads(line[6:]) for line in reply.split(b"\n") if line.startswith(b"data: {")]
            text = "".join(
                page["choices"][0]["delta"].get("content") or "" for page in pages if page["choices"]
            )
        if not text:
            raise RuntimeError("an empty answer")
        return text


def order() -> Order:
    values: dict[str, Any] = orjson.loads(sys.stdin.readline())
    values["work"] = [(model, prompt) for model, prompt in values["work"]]
    return Order(**values)


def ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def done() -> None:
    """Stays until the benchmark has read what this process used."""
    print("done", flush=True)
    sys.stdin.readline()
