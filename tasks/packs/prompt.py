"""The packed prompt: the recipe's own prompt of each member, what they begin with alike once, and how to answer.

All words of Penstock's own that a model reads about packs are here. The fences of each member have a key of its own,
so that no text of one member can close those of another. What members share at the beginning stands once, before the
first, as far as all of its fences are closed again.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

from models.recipe import Rendered
from tasks.packs.codes import KEY_BYTES, Codes
from tasks.prompts import environment

SYSTEM = environment.from_string("""\
{{ system }}

Several requests of this kind are asked at once here. Each stands between a line `=== Request ID, key KEY ===` and the
line `=== End of request ID, seal SEAL ===` with the same ID; KEY is the key of its data lines. What stands before the
first of them belongs to all. Work each request out by itself: what stands in one holds for no other.

{% if tags %}
Answer each request with a block of its own, and write nothing outside of the blocks. A block is a line
`<answer ID SEAL>`, then what would be the answer if that request were the only one, then a line `</answer ID>`.
{% else %}
Answer all of them with one JSON object and nothing around it:
{"answers": [{"id": "ID", "seal": "SEAL", "answer": ANSWER}, ...]}
ANSWER is what would be the answer if that request were the only one.
{% endif %}
There is exactly one answer for each request. ID and SEAL are copied from the request that it answers: ID from its first
line, SEAL from its last. They stand nowhere in an answer itself.""")

PROMPT = environment.from_string("""\
{% if head %}
{{ head }}

{% endif %}
{% for codes, text in members %}
=== Request {{ codes.id }}, key {{ codes.key }} ===
{{ text }}
=== End of request {{ codes.id }}, seal {{ codes.seal }} ===

{% endfor %}
Answer all {{ members | length }} requests now.""")

ANSWERS, ID, SEAL, ANSWER = "answers", "id", "seal", "answer"
"""The properties of a packed answer."""

OVERHEAD = 110
"""Characters that each member's two lines add to its prompt, at most; and those of `SYSTEM` and the rest:"""
FIXED = 1_400

TOKENS = 40
"""Of an answer, besides the answer itself: id, seal, names, brackets."""

MOST_TOKENS = 8192
"""Of all answers of one request together: many servers give no more, and a longer one might outlast `call_timeout`."""

_HOISTED = ("$defs", "definitions")


class PackError(ValueError):
    """Why a schema can't stand within another one, as a clause."""


def check_packable(schema: dict[str, Any] | None) -> None:
    """Raises PackError where the schema refers to a place that is another one within a packed answer's schema."""
    for reference in _references(schema):
        if not reference.startswith(tuple(f"#/{name}/" for name in _HOISTED)):
            raise PackError(f"the schema refers to {reference!r}; in a pack it may only refer to #/$defs/...")


def packed_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a packed answer whose members have this one. The same for every pack of a recipe."""
    hoisted = {name: schema[name] for name in _HOISTED if name in schema}
    member = {
        "type": "object",
        "additionalProperties": False,
        "required": [ID, SEAL, ANSWER],
        "properties": {
            ID: {"type": "string"},
            SEAL: {"type": "string"},
            ANSWER: {name: part for name, part in schema.items() if name not in hoisted},
        },
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [ANSWERS],
        "properties": {ANSWERS: {"type": "array", "items": member}},
        **hoisted,
    }


def packed_prompt(prompts: Sequence[Rendered], codes: Sequence[Codes], *, tags: bool) -> tuple[str, str]:
    """System and prompt. `tags`: answers come in tags and not as JSON.

    All prompts are of one recipe, so they have one system section.
    """
    texts, key = _with_one_key(prompts)
    head = shared_head(texts, key)
    tails = [text[len(head) :].strip("\n") for text in texts]
    members = [(each, tail.replace(key, each.key)) for each, tail in zip(codes, tails, strict=True)]
    system = SYSTEM.render(system=prompts[0].system, tags=tags)
    return system, PROMPT.render(head=head.strip("\n"), members=members)


def shared_head(texts: Sequence[str], key: str) -> str:
    """The lines that all texts begin with, as far as no fence is open behind them; "" where they show fences in a way
    that is not known here. No text is used up by it."""
    lines = [text.splitlines(keepends=True) for text in texts]
    opening, closing = re.compile(rf"<(\w+) {key}>\s*"), re.compile(rf"</(\w+) {key}>\s*")
    mention = re.compile(rf"[^<>]*\b{key}\.\s*")  # The key of this request is KEY.
    depth = length = safe = 0
    for shared in zip(*lines, strict=False):
        if len(set(shared)) > 1 or length + len(shared[0]) >= min(map(len, texts)):
            break
        length += len(shared[0])
        line = shared[0]
        if opening.fullmatch(line):
            depth += 1
        elif closing.fullmatch(line):
            depth -= 1
        elif key in line and not (depth == 0 and mention.fullmatch(line)):
            break
        if depth == 0:
            safe = length
    known = all(
        opening.fullmatch(line) or closing.fullmatch(line) or mention.fullmatch(line)
        for text in lines
        for line in text
        if key in line
    )
    return texts[0][:safe] if known else ""


def _with_one_key(prompts: Sequence[Rendered]) -> tuple[list[str], str]:
    """The prompts as if they had been rendered with one key, so that what they share is seen; and that key."""
    keys = {each.fence for each in prompts}
    key = keys.pop() if len(keys) == 1 else ""
    while not key or any(key in each.prompt for each in prompts if each.fence != key):
        key = secrets.token_hex(KEY_BYTES)
    return [each.prompt.replace(each.fence, key) if each.fence else each.prompt for each in prompts], key


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [str(value[word]) for word in ("$ref", "$dynamicRef") if isinstance(value.get(word), str)]
        return own + [found for part in value.values() for found in _references(part)]
    return [found for part in value for found in _references(part)] if isinstance(value, list) else []
