"""Several requests in one prompt, as tasks/packs asks them: answered one by one, and what models do wrong then."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from backends.simulator import answers

if TYPE_CHECKING:
    from backends.simulator.request import Call

FAULTS: Mapping[str, str] = {
    "pack_swapped": "of several requests in one, the answers to the first two under each other's id and seal",
    "pack_crossed": "the same with the seals left where they belong",
    "pack_missing": "the answer to the second of several requests left out",
    "pack_duplicated": "two answers, which differ, to the first of several requests",
    "pack_nested": "the answer to the second of several requests inside that to the first",
    "pack_oversized": "the answer to the first of several requests takes half of the tokens of all",
    "pack_foreign": "one more answer, under an id that nobody asked for",
}
"""On a prompt with one request they do nothing."""

MOST = 1 << 14

_REQUEST = re.compile(
    r"^=== Request (\w+), key \w+ ===\n(.*?)\n=== End of request \1, seal (\w+) ===$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Answer:
    id: str
    seal: str
    value: Any  # as the recipe's schema has it, or text


def answer(call: Call, length: int, fault: str) -> str | None:
    """All requests of a packed prompt answered, with the fault; None: the prompt is none."""
    if "=== Request " not in call.prompt or not (found := list(_REQUEST.finditer(call.prompt))):
        return None
    inner = _member_schema(call.schema)
    head = call.prompt[: found[0].start()]
    given = []
    for each in found:
        # What stands before the first request belongs to all; a request's own passages come before it.
        text = each[2] if answers.first_passage(each[2]) else f"{head}\n{each[2]}"
        said = answers.answer(text, inner, length, call.system)
        given.append(Answer(each[1], each[3], said if inner is None else orjson.loads(said)))
    return _written(_spoilt(given, fault, call.max_tokens), tags=call.schema is None)


def _member_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    member = schema.get("properties", {}).get("answers", {}).get("items", {})
    inner = dict(member.get("properties", {}).get("answer", {}))
    return inner | {name: schema[name] for name in ("$defs", "definitions") if name in schema}


def _written(given: list[Answer], tags: bool) -> str:
    if tags:
        return "\n".join(
            f"<answer {each.id} {each.seal}>\n{each.value}\n</answer {each.id}>" for each in given
        )
    members = [{"id": each.id, "seal": each.seal, "answer": each.value} for each in given]
    return orjson.dumps({"answers": members}).decode()


def _spoilt(given: list[Answer], fault: str, max_tokens: int) -> list[Answer]:
    if len(given) < 2:
        return given
    first, second, *others = given
    match fault:
        case "pack_swapped":
            return [replace(first, value=second.value), replace(second, value=first.value), *others]
        case "pack_crossed":
            return [replace(first, id=second.id), replace(second, id=first.id), *others]
        case "pack_missing":
            return [first, *others]
        case "pack_duplicated":
            return [first, second, *others, replace(first, value=second.value)]
        case "pack_nested":
            return [replace(first, value=_within(first.value, second)), *others]
        case "pack_oversized":
            return [replace(first, value=_longer(first.value, max_tokens)), second, *others]
        case "pack_foreign":
            return [*given, Answer("zzzzzz", "zzzzzz", first.value)]
        case _:
            return given


def _within(value: Any, other: Answer) -> Any:
    member = {"id": other.id, "seal": other.seal, "answer": other.value}
    if isinstance(value, dict):
        return value | {"answers": [member]}
    return f"{value}\n<answer {other.id} {other.seal}>\n{other.value}\n</answer {other.id}>"


def _longer(value: Any, max_tokens: int) -> Any:
    more = " and" * (min(max_tokens, MOST) // 2)
    if not isinstance(value, dict):
        return f"{value}{more}"
    name = next((name for name, part in value.items() if isinstance(part, str)), "answer")
    return value | {name: f"{value.get(name, '')}{more}"}
