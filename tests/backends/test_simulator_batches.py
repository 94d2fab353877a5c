"""Provider batches: sent at once, answered later, each request with its own end."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from backends.simulator import inside

FAULTS = ["ok", "rate_limited", "hang"]


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def test_message_batches_of_anthropic() -> None:
    def entry(key: str, model: str = "sim:small") -> dict[str, Any]:
        params = {"model": model, "max_tokens": 50, "messages": messages(key)}
        return {"custom_id": key, "params": params}

    async with (
        inside(batch_seconds=0.1, script=FAULTS) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        client.headers["anthropic-version"] = "2023-06-01"
        body = {"requests": [entry("a"), entry("b"), entry("c"), entry("d", "nope")]}
        made = (await client.post("/v1/messages/batches", json=body)).json()
        place = f"/v1/messages/batches/{made['id']}"
        assert made["processing_status"] == "in_progress"
        assert made["request_counts"] == {
            "processing": 4,
            "succeeded": 0,
            "errored": 0,
            "canceled": 0,
            "expired": 0,
        }
        assert (await client.get(f"{place}/results")).status_code == 400
        assert (await client.delete(place)).status_code == 400
        await asyncio.sleep(0.1)
        done = (await client.get(place)).json()
        assert done["processing_status"] == "ended"
        assert done["request_counts"] | {"processing": 0} == {
            "processing": 0,
            "succeeded": 1,
            "errored": 2,
            "canceled": 0,
            "expired": 1,
        }
        lines = (await client.get(done["results_url"])).text.splitlines()
        results = {line["custom_id"]: line["result"] for line in map(orjson.loads, lines)}
        assert results["a"]["message"]["content"][0]["text"].startswith("Simulated")
        assert results["b"]["error"]["error"]["type"] == "rate_limit_error"
        assert results["c"] == {"type": "expired"}
        assert results["d"]["error"]["error"]["type"] == "not_found_error"
        (listed,) = (await client.get("/v1/messages/batches")).json()["data"]
        assert listed == done
        stats = server.stats()
        assert (stats["requests"], stats["batch"]["requests"], stats["batch"]["answered"]) == (0, 3, 1)

        other = (await client.post("/v1/messages/batches", json={"requests": [entry("e")]})).json()
        cancelled = (await client.post(f"/v1/messages/batches/{other['id']}/cancel")).json()
        assert cancelled["processing_status"] == "canceling"
        ended = (await client.get(f"/v1/messages/batches/{other['id']}")).json()
        assert (ended["processing_status"], ended["request_counts"]["canceled"]) == ("ended", 1)
        assert (await client.delete(f"/v1/messages/batches/{other['id']}")).status_code == 200
        assert (await client.get(f"/v1/messages/batches/{other['id']}")).status_code == 404


@pytest.mark.parametrize(
    "requests", [[], [{"custom_id": "", "params": {}}], [{"custom_id": "a", "params": {}}] * 2]
)
async def test_a_batch_that_is_none_is_refused(requests: list[Any]) -> None:
    async with (
        inside(flavour="anthropic") as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        reply = await client.post("/v1/messages/batches", json={"requests": requests})
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


async def test_batches_of_gemini() -> None:
    requests = [
        {"request": {"contents": [{"parts": [{"text": key}]}]}, "metadata": {"key": key}} for key in "abc"
    ]
    batch = {"batch": {"displayName": "night", "inputConfig": {"requests": {"requests": requests}}}}
    async with (
        inside(batch_seconds=0.1, script=FAULTS) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        client.headers["x-goog-api-key"] = "k"
        made = (await client.post("/v1beta/models/sim:small:batchGenerateContent", json=batch)).json()
        assert made["metadata"]["state"] == "BATCH_STATE_RUNNING"
        await asyncio.sleep(0.1)
        done = (await client.get(f"/v1beta/{made['name']}")).json()
        assert (done["done"], done["metadata"]["state"]) == (True, "BATCH_STATE_SUCCEEDED")
        answers = done["response"]["inlinedResponses"]["inlinedResponses"]
        assert [answer["metadata"]["key"] for answer in answers] == ["a", "b", "c"]
        assert "candidates" in answers[0]["response"]
        assert answers[1]["error"]["status"] == "RESOURCE_EXHAUSTED"
        assert "error" in answers[2]
        assert (await client.get("/v1/batches")).json()["operations"] == [done]
        other = (await client.post("/v1/models/sim:small:batchGenerateContent", json=batch)).json()
        assert (await client.post(f"/v1/{other['name']}:cancel")).json() == {}
        ended = (await client.get(f"/v1/{other['name']}")).json()
        assert ended["metadata"]["state"] == "BATCH_STATE_CANCELLED"
        assert (await client.delete(f"/v1/{other['name']}")).status_code == 200
        assert (await client.get(f"/v1/{other['name']}")).json()["error"]["status"] == "NOT_FOUND"


async def test_batches_of_openai() -> None:
    lines = [
        {
            "custom_id": key,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "sim:small", "messages": messages(key)},
        }
        for key in "abc"
    ]
    content = b"\n".join(orjson.dumps(line) for line in lines)
    async with (
        inside(batch_seconds=0.1, script=FAULTS) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        sent = await client.post(
            "/v1/files", data={"purpose": "batch"}, files={"file": ("work.jsonl", content)}
        )
        file = sent.json()
        assert (file["bytes"], file["status"]) == (len(content), "processed")
        body = {
            "input_file_id": file["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        made = (await client.post("/v1/batches", json=body)).json()
        assert (made["status"], made["output_file_id"]) == ("in_progress", None)
        await asyncio.sleep(0.1)
        done = (await client.get(f"/v1/batches/{made['id']}")).json()
        assert (done["status"], done["request_counts"]) == (
            "completed",
            {"total": 3, "completed": 1, "failed": 2},
        )
        good = (await client.get(f"/v1/files/{done['output_file_id']}/content")).text.splitlines()
        bad = (await client.get(f"/v1/files/{done['error_file_id']}/content")).text.splitlines()
        (answer,) = map(orjson.loads, good)
        assert answer["custom_id"] == "a"
        assert answer["response"]["body"]["choices"][0]["message"]["content"].startswith("Simulated")
        assert [orjson.loads(line)["custom_id"] for line in bad] == ["b", "c"]
        assert orjson.loads(bad[0])["response"]["status_code"] == 429
        assert (await client.get("/v1/batches")).json()["data"] == [done]
        other = (await client.post("/v1/batches", json=body)).json()
        await client.post(f"/v1/batches/{other['id']}/cancel")
        assert (await client.get(f"/v1/batches/{other['id']}")).json()["status"] == "cancelled"
        missing = await client.post("/v1/batches", json={**body, "input_file_id": "file-x"})
        assert missing.status_code == 404
