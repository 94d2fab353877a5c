"""What the database knows, as metrics for Prometheus. Asks no server, so that a scrape costs a dozen statements.

Names follow https://prometheus.io/docs/practices/naming/. A value that is not known has no sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from deployments.load import Load, read
from models.enums import Status
from models.settings import Settings
from sql.connection import Database
from sql.statements import statement

__all__ = ["Metrics"]


class Metrics(Collector):
    """What is so at one moment: gathered when it is made.

    Raises psycopg.Error and DatabaseError where the database can't be read.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._now = datetime.now(UTC)
        with database.connect(autocommit=True, statement_timeout=20) as connection:
            self._load = read(connection, settings)
            self._items = _items(connection)
            self._waiting = connection.execute(statement("status.reviews")).fetchone()

    def collect(self) -> Iterator[Metric]:
        assert self._waiting is not None
        items = _gauge("items", "Items by what Penstock knows of them.", "status")
        for status in Status:
            items.add_metric([status.label], self._items.get(status, 0))
        yield items
        waiting = _gauge("reviews_waiting", "Reviews that wait for a person.")
        waiting.add_metric([], self._waiting[0])
        yield waiting
        yield from _queues(self._load)
        yield from _endpoints(self._load, self._now)
        yield from _models(self._load)
        yield from _devices(self._load)
        yield from _accounts(self._load)


def _items(connection: psycopg.Connection[Any]) -> dict[int, int]:
    return dict(connection.execute(statement("status.items")).fetchall())


def _queues(load: Load) -> Iterator[Metric]:
    items = _gauge(
        "queue_items", "Ready items; backend and model are empty where any does.", "backend", "model", "state"
    )
    oldest = _gauge("queue_oldest_seconds", "How long the oldest item that is due waits.", "backend", "model")
    for queue in load.queues:
        labels = [queue.backend, queue.model]
        for state in ("due", "later", "paused"):
            items.add_metric([*labels, state], getattr(queue, state))
        oldest.add_metric(labels, queue.oldest)
    yield from (items, oldest)


def _endpoints(load: Load, now: datetime) -> Iterator[Metric]:
    slots = _gauge("endpoint_slots", "Requests at once, as declared.", "endpoint")
    allowed = _gauge("endpoint_allowed", "Requests at once that the endpoint bears now.", "endpoint")
    held = _gauge("endpoint_held_seconds", "Until its pace may rise again.", "endpoint")
    leased = _gauge("endpoint_leased", "1 while a drain works on it.", "endpoint")
    claimed = _gauge("endpoint_items_claimed", "Items being asked, checked or written.", "endpoint")
    for resource, pace in load.paces.items():
        slots.add_metric([resource], pace.slots)
        allowed.add_metric([resource], min(pace.allowed, pace.slots))
        rest = (pace.held_until - now).total_seconds() if pace.held_until is not None else 0.0
        held.add_metric([resource], max(rest, 0.0))
    for resource in sorted({*load.paces, *load.leases}):
        lease = load.leases.get(resource)
        leased.add_metric([resource], float(lease is not None))
        claimed.add_metric([resource], 0 if lease is None else lease.items)
    yield from (slots, allowed, held, leased, claimed)


def _models(load: Load) -> Iterator[Metric]:
    labels = ("endpoint", "model")
    is_open = _gauge("model_breaker_open", "1 while nobody asks the model after failures.", *labels)
    failures = _gauge("model_failures", "Failures in a row.", *labels)
    loads = CounterMetricFamily(
        "penstock_model_loads", "Loads that drains waited for.", labels=labels
    )  # the client adds _total
    load_seconds = _gauge("model_load_seconds", "What a load takes, smoothed.", *labels)
    item_seconds = _gauge("model_item_seconds", "What an item takes, smoothed.", *labels)
    resident = _gauge("model_resident", "1 for the state of its memory.", *labels, "state")
    for resource, models in load.models.items():
        for each in models:
            values = [resource, each.model]
            is_open.add_metric(values, float(each.open))
            failures.add_metric(values, each.failures)
            loads.add_metric(values, each.loads)
            if each.load_seconds is not None:
                load_seconds.add_metric(values, each.load_seconds)
            if each.item_seconds is not None:
                item_seconds.add_metric(values, each.item_seconds)
            if each.residency is not None:
                resident.add_metric([*values, each.residency], 1)
    yield from (is_open, failures, loads, load_seconds, item_seconds, resident)


def _devices(load: Load) -> Iterator[Metric]:
    seats = _gauge("device_seats", "Requests at once over all endpoints of a device.", "device")
    taken = _gauge("device_seats_taken", "Seats that drains have.", "device")
    memory = _gauge("device_memory_used_bytes", "What loaded models take, as declared.", "device")
    for device in load.devices:
        seats.add_metric([device.name], device.slots)
        taken.add_metric([device.name], device.taken)
        memory.add_metric([device.name], device.used * 2**30)
    yield from (seats, taken, memory)


def _accounts(load: Load) -> Iterator[Metric]:
    requests = _gauge("account_requests_today", "Requests of this day.", "account")
    tokens = _gauge("account_tokens_today", "Tokens of this day.", "account")
    usd = _gauge("account_usd_today", "What priced models cost this day, in US dollars.", "account")
    for account in load.accounts:
        requests.add_metric([account.name], account.requests)
        tokens.add_metric([account.name], account.tokens)
        usd.add_metric([account.name], account.usd)
    yield from (requests, tokens, usd)


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"penstock_{name}", documentation, labels=labels)
