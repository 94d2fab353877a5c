"""Dramatiq: a message per item in Redis, a worker of as many threads as may be in flight. Its defaults else."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.pressure.drivers.messages import drain
from bench.pressure.drivers.protocol import order
from bench.pressure.drivers.redis_server import running


def main() -> None:
    given = order()
    with running() as port:
        broker = RedisBroker(url=f"redis://127.0.0.1:{port}/0")
        dramatiq.set_broker(broker)
        drain(broker, given)


if __name__ == "__main__":
    main()
