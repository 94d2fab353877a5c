"""Dramatiq on Postgres, by dramatiq-postgres: a row per item, a worker of as many threads as may be in flight."""

from __future__ import annotations

import dramatiq
import psycopg
from dramatiq_postgres import PostgresBroker, schema

from bench.pressure.drivers.messages import drain
from bench.pressure.drivers.protocol import order


def main() -> None:
    given = order()
    url = f"postgresql://postgres@/{given.database}?host={given.socket}"
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        schema.init(cursor)
    broker = PostgresBroker(url=url)
    dramatiq.set_broker(broker)
    drain(broker, given)


if __name__ == "__main__":
    main()
