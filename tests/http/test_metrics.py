"""What Prometheus gets, read by its own parser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parsed

from deployments.metrics import Metrics
from models.endpoint import Budget, Device, Endpoint
from models.settings import Settings
from sql.connection import Database

from .conftest import Served

GPU = "ollama http://127.0.0.1:11434"


async def test_metrics_are_in_prometheus_text_format(door: Served) -> None:
    assert (await door.client.get("/metrics")).status_code == 401
    answer = await door.client.get("/metrics", headers=door.token)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    items = {
        sample.labels["status"]: sample.value
        for family in parsed(answer.text)
        if family.name == "penstock_items"
        for sample in family.samples
    }
    assert set(items) >= {"ready", "waiting", "done"}


def gathered(database: Database, settings: Settings) -> dict[str, dict[tuple[str, ...], float]]:
    """By sample's name, values by labels' values."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in Metrics(settings, database).collect():
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def seeded(database: Database) -> Settings:
    with database.connect(autocommit=True) as connection:
        for query in (
            "insert into lease (resource, backend, token, holder, expires_at)"
            f" values ('{GPU}', 'ollama', 7, 'h', now() + interval '1 h')",
            "insert into endpoint (resource, backend, url, slots, allowed, held_until, reason)"
            f" values ('{GPU}', 'ollama', 'http://127.0.0.1:11434', 8, 4, now() + interval '100 s', 'cut')",
            "insert into model_state (resource, model, load_seconds, item_seconds, loads, failures, open_until)"
            f" values ('{GPU}', 'small', 2.5, 0.5, 3, 4, now() + interval '1 h'),"
            f" ('{GPU}', 'large', null, null, 0, 0, null)",
            "insert into residency (resource, model, device, memory, state, token)"
            f" values ('{GPU}', 'small', 'gpu', 2, 'loaded', 7)",
            "insert into seat (device, number, token) values ('gpu', 0, 7), ('gpu', 1, null)",
            "insert into account (name) values ('acme')",
            "with b as (insert into board (source, dialect, encoding, sha256) values ('b', 'gfm', 'utf-8', '')"
            " returning id) insert into item (board_id, key, position, status, ready, recipe)"
            " select id, gen_random_uuid(), 1, 1, true, 'task' from b",
        ):
            connection.execute(query.encode())
    return Settings(
        devices=[Device(name="gpu", slots=2)],
        endpoints=[
            Endpoint(backend="ollama", url="http://127.0.0.1:11434", slots=8, device="gpu", account="acme")
        ],
        budgets=[Budget(account="acme", requests_per_day=10)],
    )


def test_what_is_known_of_endpoints_models_and_devices(database: Database, settings_env: Path) -> None:
    found = gathered(database, seeded(database))
    assert found["penstock_endpoint_slots"] == {(GPU,): 8}
    assert found["penstock_endpoint_allowed"] == {(GPU,): 4}
    assert 90 < found["penstock_endpoint_held_seconds"][GPU,] <= 100
    assert found["penstock_endpoint_leased"] == {(GPU,): 1}
    assert found["penstock_model_breaker_open"] == {(GPU, "small"): 1, (GPU, "large"): 0}
    assert found["penstock_model_loads_total"] == {(GPU, "small"): 3, (GPU, "large"): 0}
    assert found["penstock_model_load_seconds"] == {(GPU, "small"): 2.5}, "unknown has no sample"
    assert found["penstock_model_resident"] == {(GPU, "small", "loaded"): 1}
    assert found["penstock_device_seats"] == {("gpu",): 2}
    assert found["penstock_device_seats_taken"] == {("gpu",): 1}
    assert found["penstock_device_memory_used_bytes"] == {("gpu",): 2 * 2**30}
    assert found["penstock_account_requests_today"] == {("acme",): 0}
    assert found["penstock_items"]["ready",] == 1
    assert found["penstock_queue_items"] == {("", "", "due"): 1, ("", "", "later"): 0, ("", "", "paused"): 0}


def documented() -> Mapping[str, str]:
    """The table of docs/operations.md: labels by name."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(penstock_\w+)` \| ([^|]*?) ?\|", page, re.MULTILINE))


def test_the_documentation_names_every_metric_with_its_labels(database: Database, settings_env: Path) -> None:
    shown = {
        sample.name: ", ".join(sample.labels)
        for family in Metrics(seeded(database), database).collect()
        for sample in family.samples
    }
    assert documented() == shown
