"""`python -m backends.simulator`: serve until interrupted. Prints one JSON line with its URL when it is ready."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable

from backends.simulator.app import App
from backends.simulator.arguments import options_of, parser, plain
from backends.simulator.engine import Engine
from backends.simulator.server import Server, bound, url_of
from backends.simulator.supervisor import end_with_stdin, supervise, supervised


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser().parse_args(arguments)
    options = options_of(given)

    def ready(url: str) -> None:
        line = {"url": url, "pid": os.getpid(), "slots": options.slots, "simulated": True}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    if given.restart_seconds is not None and not given.supervised:
        if given.until_stdin_closes:
            end_with_stdin()
        supervise(plain(arguments), given.host, given.port, given.restart_seconds, ready)
        return
    engine = Engine(options)
    if given.supervised:
        supervised(engine)
    listener = bound(given.host, given.port, shared=given.supervised)
    if given.until_stdin_closes or given.supervised:
        end_with_stdin()
    asyncio.run(_serve(Server(App(engine), listener), lambda: ready(url_of(listener))))


async def _serve(server: Server, ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    await server.open()
    ready()
    await stop.wait()
    await server.close()


if __name__ == "__main__":
    main()
