"""Which request goes where, by path; where a path belongs to several protocols, by what their clients send."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from backends.simulator import (
    anthropic,
    batches,
    gemini,
    gemini_batches,
    local,
    ollama,
    ollama_pages,
    openai,
    openai_batches,
)
from backends.simulator.batches import Batches
from backends.simulator.engine import Engine
from backends.simulator.http import Exchange

Page = Callable[[Exchange, Engine], Awaitable[None]]
BatchPage = Callable[[Exchange, Engine, Batches], Awaitable[None]]

_OLLAMA: dict[tuple[str, str], Page] = {
    ("GET", "/"): ollama_pages.root,
    ("HEAD", "/"): ollama_pages.root,
    ("GET", "/api/version"): ollama_pages.version,
    ("GET", "/api/tags"): ollama_pages.tags,
    ("GET", "/api/ps"): ollama_pages.running,
    ("POST", "/api/show"): ollama_pages.show,
    ("POST", "/api/chat"): ollama.chat,
    ("POST", "/api/generate"): ollama.generate,
    ("POST", "/api/embed"): ollama.embed,
    ("POST", "/api/embeddings"): ollama.embed,
}
_OPENAI: dict[tuple[str, str], Page] = {
    ("POST", "/v1/chat/completions"): openai.chat,
    ("POST", "/v1/embeddings"): openai.embeddings,
    ("GET", "/v1/models"): openai.models,
}
_MLX: dict[tuple[str, str], Page] = {
    ("GET", "/health"): local.health,
    ("POST", "/v1/chat/completions"): openai.chat,
    ("GET", "/v1/models"): openai.models,
}
_LLAMA: dict[tuple[str, str], Page] = {
    ("GET", "/health"): local.health,
    ("GET", "/props"): local.props,
    ("GET", "/slots"): local.slots,
    ("GET", "/metrics"): local.metrics,
}
_VLLM: dict[tuple[str, str], Page] = {
    ("GET", "/health"): local.health,
    ("GET", "/version"): local.version,
    ("GET", "/metrics"): local.metrics,
    ("POST", "/sleep"): local.sleep,
    ("POST", "/wake_up"): local.wake_up,
    ("GET", "/is_sleeping"): local.is_sleeping,
}
_ANTHROPIC: dict[tuple[str, str], Page] = {
    ("POST", "/v1/messages"): anthropic.messages,
    ("POST", "/v1/messages/count_tokens"): anthropic.count_tokens,
}
_MESSAGE_BATCHES: list[tuple[str, str, BatchPage]] = [
    ("POST", r"/v1/messages/batches", batches.create),
    ("GET", r"/v1/messages/batches", batches.listed),
    ("GET", r"/v1/messages/batches/([^/]+)", batches.find),
    ("POST", r"/v1/messages/batches/([^/]+)/cancel", batches.cancel),
    ("GET", r"/v1/messages/batches/([^/]+)/results", batches.results),
    ("DELETE", r"/v1/messages/batches/([^/]+)", batches.delete),
]
_OPENAI_BATCHES: list[tuple[str, str, BatchPage]] = [
    ("POST", r"/v1/files", openai_batches.upload),
    ("GET", r"/v1/files/([^/]+)", openai_batches.file),
    ("GET", r"/v1/files/([^/]+)/content", openai_batches.content),
    ("POST", r"/v1/batches", openai_batches.create),
    ("GET", r"/v1/batches", openai_batches.listed),
    ("GET", r"/v1/batches/(batch_[^/]+)", openai_batches.find),
    ("POST", r"/v1/batches/(batch_[^/]+)/cancel", openai_batches.cancel),
]
_GEMINI: list[tuple[str, str, Page]] = [
    ("POST", r"/v1(?:beta)?/models/(.+):generateContent", gemini.generate),
    ("POST", r"/v1(?:beta)?/models/(.+):streamGenerateContent", gemini.stream),
    ("POST", r"/v1(?:beta)?/models/(.+):countTokens", gemini.count_tokens),
    ("POST", r"/v1(?:beta)?/models/(.+):(?:embedContent|batchEmbedContents)", gemini.embed),
]
_GEMINI_BATCHES: list[tuple[str, str, BatchPage]] = [
    ("POST", r"/v1(?:beta)?/models/(.+):batchGenerateContent", gemini_batches.create),
    ("GET", r"/v1(?:beta)?/batches", gemini_batches.listed),
    ("GET", r"/v1(?:beta)?/batches/([^/:]+)", gemini_batches.find),
    ("POST", r"/v1(?:beta)?/batches/([^/:]+):cancel", gemini_batches.cancel),
    ("DELETE", r"/v1(?:beta)?/batches/([^/:]+)", gemini_batches.delete),
]
_MODELS = re.compile(r"/v1(beta)?/models(?:/(.+))?")

_ASKS = re.compile(r":(generate|streamGenerate|count|embed|batch)\w+$")

SPEAKS: dict[str, tuple[str, ...]] = {
    "any": ("ollama", "openai", "llama", "vllm", "anthropic", "gemini", "batches"),
    "ollama": ("ollama", "openai", "anthropic"),
    "llama": ("openai", "llama", "anthropic"),
    "vllm": ("openai", "vllm"),
    "mlx": ("mlx",),
    "openai": ("openai", "batches"),
    "anthropic": ("anthropic", "batches"),
    "gemini": ("gemini", "batches"),
}
"""By flavour. What is not spoken is not found."""

_EXACT = {
    "ollama": ("ollama", _OLLAMA),
    "openai": ("openai", _OPENAI),
    "llama": ("openai", _LLAMA),
    "vllm": ("openai", _VLLM),
    "mlx": ("openai", _MLX),
    "anthropic": ("anthropic", _ANTHROPIC),
}
_BATCHES = {"openai": _OPENAI_BATCHES, "anthropic": _MESSAGE_BATCHES, "gemini": _GEMINI_BATCHES}

Route = tuple[str, Page]
"""The protocol whose words errors have, and what answers."""


class Routes:
    """Those of one flavour."""

    def __init__(self, flavour: str, batches: Batches) -> None:
        self._flavour = flavour
        self._speaks = SPEAKS[flavour]
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: list[tuple[str, re.Pattern[str], Route]] = []
        for name in self._speaks:
            protocol, pages = _EXACT.get(name, ("", {}))
            self._exact |= {place: (protocol, page) for place, page in pages.items()}
        for protocol, batch_pages in _BATCHES.items():
            if protocol in self._speaks and "batches" in self._speaks:
                for method, path, batch_page in batch_pages:
                    route = (protocol, _bound(batch_page, batches))
                    self._patterns.append((method, re.compile(path), route))
        if "gemini" in self._speaks:
            for method, path, page in _GEMINI:
                self._patterns.append((method, re.compile(path), ("gemini", page)))
        if self._flavour != "mlx":
            self._exact.pop(("GET", "/v1/models"), None)  # three protocols have it

    def find(self, exchange: Exchange) -> Route | None:
        found = self._exact.get((exchange.method, exchange.path))
        if found is not None:
            return found
        if exchange.method == "GET" and (match := _MODELS.fullmatch(exchange.path)) is not None:
            return self._models(exchange, match[2])
        for method, pattern, route in self._patterns:
            if method == exchange.method and (match := pattern.fullmatch(exchange.path)) is not None:
                if exchange.path == "/v1/batches" and route[0] != self.guess(exchange):
                    continue
                exchange.params = match.groups()
                return route
        return None

    def _models(self, exchange: Exchange, name: str | None) -> Route | None:
        protocol = self.guess(exchange)
        if protocol not in self._speaks:
            return None
        exchange.params = () if name is None else (name,)
        match protocol:
            case "anthropic":
                return protocol, anthropic.models if name is None else anthropic.model
            case "gemini":
                return protocol, gemini.models if name is None else gemini.model
            case _:
                return protocol, openai.models if name is None else openai.model

    def guess(self, exchange: Exchange) -> str:
        """Whose protocol a request is, where its path alone does not say."""
        path, flavour = exchange.path, self._flavour
        if flavour in ("anthropic", "gemini"):
            return flavour
        if flavour in ("openai", "vllm", "mlx"):
            return "openai"
        if path.startswith("/v1/messages"):
            return "anthropic"
        if flavour == "any" and (path.startswith("/v1beta/") or _ASKS.search(path)):
            return "gemini"
        if path.startswith("/v1"):
            if exchange.header(b"anthropic-version"):
                return "anthropic"
            keyed = exchange.header(b"x-goog-api-key") or "key" in exchange.query()
            return "gemini" if flavour == "any" and keyed else "openai"
        return "openai" if flavour == "llama" else "ollama"


def _bound(page: BatchPage, batches: Batches) -> Page:
    async def run(exchange: Exchange, engine: Engine) -> None:
        await page(exchange, engine, batches)

    return run
