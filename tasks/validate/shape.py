"""Has the answer the shape that was asked for? JSON found where there is no doubt about it, then its schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from models.enums import ErrorType
from models.recipe import Recipe
from models.verdict import Failure
from tasks.foreign import cut, is_storable
from tasks.validate.repair import mended

LAYER = "shape"
MAX_STARTS = 64
"""Opening braces that are tried before the search gives up: each may cost a pass over the rest of the text."""
MAX_PROBLEMS = 3

_BLOCK = re.compile(
    r"^[ \t]*(```+|~~~+)[ \t]*(?:json5?|jsonc)?[ \t]*\n(.*?)^[ \t]*\1[ \t]*$", re.S | re.M | re.I
)
_KEY = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:', re.S)
_MARK = re.compile(r'"(?:[^"\\]|\\.)*"|["{}\[\]]', re.S)
_THOUGHTS_END = re.compile(r"</(?:think|thinking|thought|reasoning)\s*>", re.IGNORECASE)


class NotJson(ValueError):
    """The text has no JSON object in it, or more than one. The message says which."""


@dataclass(frozen=True, slots=True)
class Shaped:
    text: str  # what would become the result
    data: dict[str, Any] | None = None
    failures: tuple[Failure, ...] = ()
    repairs: tuple[str, ...] = ()  # what was put right to read it, in words


@dataclass(frozen=True, slots=True)
class Read:
    """The one JSON object of an answer, and what had to be done to find it."""

    data: dict[str, Any]
    repairs: tuple[str, ...] = ()


def check_shape(recipe: Recipe, text: str) -> Shaped:
    """Free text is taken as it is; with a schema, the object and the text that is in its `text_field`."""
    schema = recipe.header.answer_schema
    if schema is None:
        return Shaped(text)
    try:
        read = read_json(text)
    except NotJson as error:
        return Shaped(text, None, (Failure(LAYER, "json", ErrorType.MALFORMED, str(error)),))
    data = read.data
    problems = _problems(recipe.hash, schema, data)
    failures = tuple(Failure(LAYER, "schema", ErrorType.SCHEMA, problem) for problem in problems)
    result = result_text(data, recipe.header.text_field)
    if not failures and not result.strip():
        name = recipe.header.text_field
        failures = (
            Failure(LAYER, "text_field", ErrorType.EMPTY, f"The field {name!r} of the answer is empty."),
        )
    return Shaped(result, data, failures, read.repairs)


def result_text(data: dict[str, Any], text_field: str) -> str:
    """The text of `text_field`; where it is no text, the same as YAML, which people read more easily than JSON."""
    value = data.get(text_field)
    if isinstance(value, str):
        return value.strip()
    shown = data if value is None else value
    return yaml.safe_dump(shown, allow_unicode=True, sort_keys=False, width=110).strip()


FENCE = "it was taken out of a code fence"
THOUGHTS = "the thoughts before the answer were left out"
PROSE = "it was taken out of the prose around it"


def extract_json(text: str) -> dict[str, Any]:
    """`read_json` without what was done to read it."""
    return read_json(text).data


def read_json(text: str) -> Read:
    """The one JSON object of the text: plain, in a code fence, after thoughts, or within prose.

    Faults that can be read in one way only are put right (tasks/validate/repair.py). Raises NotJson where there is no
    object, or several different ones, or one that was cut off: guessing which was meant is no check. Repeated keys, NaN
    and numbers beyond a double are no JSON.
    """
    # Some servers cut the opening tag of the thoughts off, and leave the closing one.
    rest = _THOUGHTS_END.split(text)[-1].strip()
    left_out = (THOUGHTS,) if rest != text.strip() else ()
    for candidate, how in ((text.strip(), ()), (rest, left_out)):
        whole = _decode(candidate)
        if isinstance(whole, list):
            raise NotJson("The answer is a JSON list; one JSON object was asked for.")
        if isinstance(whole, dict):
            return _certain([Read(whole, how)], text)
        if (found := _mend(candidate, 0, how)) is not None and found[1] == len(candidate):
            return _certain([found[0]], text)
    blocks = [read for block in _BLOCK.finditer(rest) if (read := _block(block[2].strip(), left_out))]
    return _certain(blocks or _objects_within(rest, (*left_out, PROSE)), text)


def _block(text: str, how: tuple[str, ...]) -> Read | None:
    found = _decode(text)
    if isinstance(found, dict):
        return Read(found, (*how, FENCE))
    mended_ = _mend(text, 0, (*how, FENCE))
    return mended_[0] if mended_ is not None and mended_[1] == len(text) else None


def _mend(text: str, at: int, how: tuple[str, ...]) -> tuple[Read, int] | None:
    """The object that begins there with its certain faults put right, and where it ends."""
    found = mended(text, at)
    if found is None:
        return None
    value = _decode(found[0])
    return (Read(value, (*how, *found[2])), found[1]) if isinstance(value, dict) else None


def _certain(found: list[Read], text: str) -> Read:
    if not found:
        raise NotJson("The answer has no JSON object in it; one was asked for.")
    if any(other.data != found[0].data for other in found[1:]):
        raise NotJson(f"The answer has {len(found)} different JSON objects; exactly one was asked for.")
    # The text itself was looked at before: only an escape can bring such a character in.
    if "\\u" in text and not all(map(is_storable, _strings(found[0].data))):
        raise NotJson("The answer's JSON has NUL characters or broken Unicode, which can't be stored.")
    return found[0]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from _strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from _strings(member)


def _objects_within(text: str, how: tuple[str, ...]) -> list[Read]:
    """All outermost non-empty objects within prose.

    Raises NotJson where an object stands within something broken: it is a part, not the answer.
    """
    found = []
    failed: list[int] = []
    depth = after = starts = 0
    at = text.find("{")
    while at >= 0:
        starts += 1
        if starts > MAX_STARTS:
            raise NotJson(f"The answer has more than {MAX_STARTS} opening braces and no clear JSON object.")
        depth += _opened(text[after:at])
        read: Read | None
        try:
            value, after = DECODER.raw_decode(text, at)
            read = Read(value, how)
        except (ValueError, RecursionError):
            read, after = _mend(text, at, how) or (None, at + 1)
        if read is None:
            depth += 1
            failed.append(at)
        else:
            # Brackets within texts count for `depth`, too: only what ends is no answer that was cut off.
            if read.data and (depth > 0 or any(_was_cut(text, start) for start in failed)):
                raise NotJson(
                    "The answer's JSON is broken: an object stands within something that is no JSON."
                )
            if read.data:
                found.append(read)
        at = text.find("{", after)
    return found


def _was_cut(text: str, start: int) -> bool:
    """Does an object begin there, with its first key, that has no end?"""
    if _KEY.match(text, start) is None:
        return False
    depth = 0
    for mark in _MARK.finditer(text, start):
        depth += (mark[0] in "{[") - (mark[0] in "}]")
        if depth == 0 or mark[0] == '"':
            return depth > 0
    return True


def _opened(prose: str) -> int:
    return prose.count("{") + prose.count("[") - prose.count("}") - prose.count("]")


def _decode(text: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is there twice")
    return value


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError(f"{literal} is beyond a double")
    return number


DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
"""Raises ValueError for repeated keys, NaN and numbers beyond a double, too."""


def _problems(recipe_hash: str, schema: dict[str, Any], data: dict[str, Any]) -> list[str]:
    """What does not fit, in words, at most MAX_PROBLEMS. A schema that can't be applied raises ValueError."""
    problems = []
    try:
        for error in _validator(_Keyed(recipe_hash, schema))(data):
            problems.append(_in_words(error))
            if len(problems) == MAX_PROBLEMS:
                break
    except (Unresolvable, RecursionError) as error:
        raise ValueError(f"the schema can't be applied: {error}") from error
    return problems


def _in_words(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    place = f"At {where!r}" if where else "At the top"
    # The message begins with the value itself, which may be the whole answer.
    message = (
        error.message if len(error.message) <= 200 else f"{error.message[:80]} ... {error.message[-110:]}"
    )
    return f"{place}: {cut(message, 300)}."


@dataclass(frozen=True, slots=True, eq=False)
class _Keyed:
    """A schema that a cache finds by its recipe's hash: dictionaries have none of their own."""

    hash: str
    schema: dict[str, Any]

    def __hash__(self) -> int:
        return hash(self.hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.hash == other.hash and self.schema == other.schema


@lru_cache(maxsize=64)
def _validator(keyed: _Keyed) -> Callable[[Any], Any]:
    # An empty registry: the default one would fetch a remote $ref over HTTP.
    return Draft202012Validator(keyed.schema, registry=Registry()).iter_errors
