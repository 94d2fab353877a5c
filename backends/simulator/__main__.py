"""`python -m backends.simulator`: serve until interrupted. Prints one JSON line with its URL when it is ready."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import threading

import uvicorn

from backends.simulator.app import App
from backends.simulator.engine import FAULTS, Engine, Options


def main(arguments: list[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    options = Options(
        slots=given.slots,
        models=tuple(given.models.split(",")),
        resident=given.resident,
        load_seconds=given.load_seconds,
        tokens_per_second=given.tokens_per_second,
        latency=given.latency,
        context=given.context,
        max_queue=given.max_queue,
        seed=given.seed,
        rates=given.rates,
        script=given.script,
    )
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it each reply waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((given.host, given.port))
    listener.listen(2048)
    host, port = listener.getsockname()[:2]
    server = uvicorn.Server(
        uvicorn.Config(
            App(Engine(options)),
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            backlog=2048,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=1,
        )
    )
    if given.until_stdin_closes:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    sys.stdout.write(
        json.dumps({"url": f"http://{host}:{port}", "pid": os.getpid(), "slots": given.slots}) + "\n"
    )
    sys.stdout.flush()
    asyncio.run(server.serve(sockets=[listener]))


def _end_with_stdin() -> None:
    """Whoever started this is gone or done. There is nothing to save: end at once, hung requests and all."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m backends.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--slots", type=int, default=4, help="requests that run at once; the others wait in order"
    )
    parser.add_argument("--models", default="sim:small,sim:large", help="names, separated by commas")
    parser.add_argument("--resident", type=int, default=1, help="models that are loaded at once")
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--tokens-per-second", type=float, default=0.0, help="of one answer; 0 takes no time")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds added to each answer")
    parser.add_argument("--context", type=int, default=8192, help="tokens, where the request does not say")
    parser.add_argument(
        "--max-queue", type=int, default=0, help="waiting requests before 503; 0 has no bound"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rates", type=_rates, default={}, help=f"fault=share, separated by commas; of {', '.join(FAULTS)}"
    )
    parser.add_argument("--script", type=_script, default=(), help="ok or a fault for each request, then ok")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input ends")
    return parser


def _rates(text: str) -> dict[str, float]:
    rates = {}
    for part in filter(None, text.split(",")):
        name, _, share = part.partition("=")
        if name not in FAULTS or not 0 <= float(share) <= 1:
            raise argparse.ArgumentTypeError(f"{part!r} is no fault=share; faults are {', '.join(FAULTS)}")
        rates[name] = float(share)
    return rates


def _script(text: str) -> tuple[str, ...]:
    script = tuple(filter(None, text.split(",")))
    for name in script:
        if name not in ("ok", *FAULTS):
            raise argparse.ArgumentTypeError(f"{name!r} is neither ok nor one of {', '.join(FAULTS)}")
    return script


if __name__ == "__main__":
    main()
