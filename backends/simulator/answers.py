"""Deterministic answers that fit a JSON Schema and cite what the prompt offers."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import orjson

PER_TOKEN = 4
"""Characters that count as one token here."""

_MARKER = re.compile(r"^[ \t]*\[\[([^\]\n]+)\]\][ \t]*$", re.MULTILINE)
_VERDICT = re.compile(r"`([A-Z]{4,}): `")  # as recipes name the words that an answer is to begin with
_DEEPEST = 8
_CYRILLIC = re.compile("[\u0400-\u04ff]{4}")
RUSSIAN = "Это можно сделать завтра, потому что все документы уже были собраны и проверены."
ENGLISH = (
    "This can be done tomorrow, because all of the documents have been gathered and were checked before."
)


def tokens(text: str) -> int:
    """At least one for each word, as real tokenizers have it."""
    return max(len(text) // PER_TOKEN, len(text.split()))


def answer(prompt: str, schema: dict[str, Any] | None, length: int = 0, system: str = "") -> str:
    """The same for the same prompt and schema: a sentence, or JSON that fits the schema.

    With `length` the sentence is drawn out to so many tokens. It begins with the first verdict that `system` asks for.
    """
    cited = first_passage(prompt)
    said = f"Simulated: {cited[1]}" if cited else "Simulated answer, no passage was given."
    if verdict := _VERDICT.search(system):
        said = f"{verdict[1]}: {said}"
    if length > tokens(said):
        said = f"{said} {'and ' * length}"[: length * PER_TOKEN]
    return _fitting(schema, said, prompt)


def _fitting(schema: dict[str, Any] | None, said: str, prompt: str) -> str:
    if schema is None:
        return said
    # Who puts opinions together has to place and cite each of them.
    each = "positions" in (schema.get("properties") or ())
    cited = list(passages(prompt)) if each else list(islice(passages(prompt), 1))
    return orjson.dumps(_Maker(schema, said, cited).value(schema, "answer", 0)).decode()


def spoilt(text: str, fault: str, prompt: str, schema: dict[str, Any] | None) -> str:
    """The answer with a fault that is one of wording; as it is with any other."""
    match fault:
        case "echo":
            return prompt
        case "echo_quoted":
            return f'"{prompt}"'
        case "echo_prefixed":
            return f"Sure! Here is what you asked for:\n\n{prompt}"
        case "echo_partial":
            return prompt[: len(prompt) // 2]
        case "echo_inside":
            return _fitting(schema, prompt, prompt)
        case "other_language":
            return _fitting(schema, ENGLISH if _CYRILLIC.search(prompt) else RUSSIAN, prompt)
        case "no_json":
            return ENGLISH
        case "fenced":
            return f"Here it is:\n\n```json\n{text}\n```\n"
        case "think":
            return f"<think>\nWhat is asked for? {{braces}}\n</think>\n\n{text}"
        case _:
            return text


def embedding(text: str, dimensions: int) -> list[float]:
    """A unit vector; texts with many words in common are near each other."""
    values = [0.0] * dimensions
    for word in text.lower().split() or [text]:
        digest = zlib.crc32(word.encode("utf-8", "replace"))
        values[digest % dimensions] += 1.0 if digest >> 31 else -1.0
    norm = math.sqrt(sum(value * value for value in values))
    if not norm:  # two words met in one place and cancelled each other
        values[0] = norm = 1.0
    return [value / norm for value in values]


def first_passage(prompt: str) -> tuple[str, str] | None:
    """The first `[[cite]]` that stands on a line of its own, with the first line of text below it."""
    return next(passages(prompt), None)


def passages(prompt: str) -> Iterator[tuple[str, str]]:
    """Each `[[cite]]` that stands on a line of its own, with the first line of text below it."""
    for marker in _MARKER.finditer(prompt):
        for line in prompt[marker.end() :].splitlines():
            text = line.strip()
            if text.startswith("[["):
                break
            if len(text.split()) > 2 and not text.startswith(("#", "```", "<", "~~~")):
                yield marker[1].strip(), text
                break


class _Maker:
    """Makes a value for a schema: the parts of JSON Schema that recipes use, all properties filled."""

    def __init__(self, root: dict[str, Any], said: str, cited: Sequence[tuple[str, str]]) -> None:
        self._root = root
        self._said = said
        self._cited = cited

    def value(self, schema: Any, name: str, depth: int, nth: int = 0) -> Any:
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return None
        for word in ("const", "default"):
            if word in schema:
                return schema[word]
        if schema.get("enum"):
            return schema["enum"][0]
        if isinstance(reference := schema.get("$ref"), str):
            return self.value(self._resolve(reference), name, depth + 1, nth)
        for word in ("anyOf", "oneOf", "allOf"):
            if schema.get(word):
                return self.value(schema[word][0], name, depth + 1, nth)
        kind = schema.get("type")
        match kind[0] if isinstance(kind, list) else kind:
            case "object":
                return self._object(schema, depth, nth)
            case "array":
                return self._array(schema, name, depth)
            case "integer":
                return int(self._number(schema, name))
            case "number":
                return self._number(schema, name)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._string(schema, name, nth)

    def _resolve(self, reference: str) -> Any:
        found: Any = self._root
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def _object(self, schema: dict[str, Any], depth: int, nth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        return {name: self.value(part, name, depth + 1, nth) for name, part in properties.items()}

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        least = int(schema.get("minItems", 0))
        # A part that needed the part of the same number would be a ring.
        if name == "needs" or (name == "citations" and not self._cited):
            count = least
        elif name in ("citations", "positions"):
            count = min(max(len(self._cited), least), int(schema.get("maxItems", 50)))
        else:
            count = min(max(1, least), int(schema.get("maxItems", max(1, least))))
        return [self.value(schema.get("items"), name, depth + 1, nth) for nth in range(count)]

    def _number(self, schema: dict[str, Any], name: str) -> float:
        low, high = schema.get("minimum"), schema.get("maximum")
        value = 0.9 if name == "confidence" else 1.0
        if low is not None:
            value = max(value, low)
        return min(value, high) if high is not None else value

    def _string(self, schema: dict[str, Any], name: str, nth: int) -> str:
        if name in ("cite", "quote"):
            text = self._cited[min(nth, len(self._cited) - 1)][name == "quote"] if self._cited else ""
        elif name in ("answer", "text", "summary", "result", "decision", "position", "says"):
            text = self._said
        else:
            text = f"simulated {name} {nth + 1}"
        text = text.ljust(int(schema.get("minLength", 0)), ".")
        return text[: int(schema["maxLength"])] if "maxLength" in schema else text
