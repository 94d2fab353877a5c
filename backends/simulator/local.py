"""What llama-server and vLLM tell beside OpenAI's protocol: health, slots, metrics, sleep."""

from __future__ import annotations

from backends.simulator.engine import Engine
from backends.simulator.http import Exchange, Problem


async def health(exchange: Exchange, engine: Engine) -> None:
    if engine.options.flavour == "vllm":
        await exchange.reply(200, b"", kind=b"text/plain")
    else:
        await exchange.reply(200, {"status": "ok"})


async def version(exchange: Exchange, engine: Engine) -> None:
    await exchange.reply(200, {"version": "0.0.0-simulator"})


async def props(exchange: Exchange, engine: Engine) -> None:
    options = engine.options
    page = {
        "total_slots": options.slots,
        "model_path": engine.models[0] if engine.models else "",
        "chat_template": "",
        "default_generation_settings": {"n_ctx": options.context},
        "n_ctx": options.context,
        "is_sleeping": bool(engine.memory.asleep),
    }
    await exchange.reply(200, page)


async def slots(exchange: Exchange, engine: Engine) -> None:
    busy = engine.busy_slots
    if "fail_on_no_slot" in exchange.query() and len(busy) == engine.options.slots:
        raise Problem("loading", "no slot available")
    page = [
        {"id": slot, "n_ctx": engine.options.context, "is_processing": slot in busy}
        for slot in range(engine.options.slots)
    ]
    await exchange.reply(200, page)


async def metrics(exchange: Exchange, engine: Engine) -> None:
    """Prometheus text, in the names of both servers or of the one that this is."""
    total, flavour = engine.judge.total, engine.options.flavour
    running = len(engine.busy_slots)
    lines = []
    if flavour != "vllm":
        lines += [
            f"llamacpp:requests_processing {running}",
            f"llamacpp:requests_deferred {engine.waiting}",
            f"llamacpp:prompt_tokens_total {total.tokens_in - total.cached_tokens}",
            f"llamacpp:tokens_predicted_total {total.tokens_out}",
        ]
    if flavour != "llama":
        label = '{model_name="' + (engine.models[0] if engine.models else "") + '"}'
        lines += [
            f"vllm:num_requests_running{label} {running}",
            f"vllm:num_requests_waiting{label} {engine.waiting}",
            f"vllm:kv_cache_usage_perc{label} {running / engine.options.slots:.4f}",
            f"vllm:prompt_tokens_total{label} {total.tokens_in}",
            f"vllm:generation_tokens_total{label} {total.tokens_out}",
            f"vllm:prefix_cache_queries_total{label} {total.tokens_in}",
            f"vllm:prefix_cache_hits_total{label} {total.cached_tokens}",
        ]
    await exchange.reply(200, "".join(f"{line}\n" for line in lines).encode(), kind=b"text/plain")


async def sleep(exchange: Exchange, engine: Engine) -> None:
    """vLLM's sleep mode: the memory is given back once the model is idle."""
    await exchange.body()
    level = exchange.query().get("level", "1")
    if level not in ("1", "2"):
        raise Problem("invalid", f"level must be 1 or 2, not {level!r}")
    await engine.memory.sleep(int(level))
    await exchange.reply(200, b"", kind=b"text/plain")


async def wake_up(exchange: Exchange, engine: Engine) -> None:
    await exchange.body()
    await engine.memory.wake()
    await exchange.reply(200, b"", kind=b"text/plain")


async def is_sleeping(exchange: Exchange, engine: Engine) -> None:
    await exchange.reply(200, {"is_sleeping": bool(engine.memory.asleep)})
