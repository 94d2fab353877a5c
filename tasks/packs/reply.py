"""A packed answer taken apart: each member's answer by its id, exactly once, or in words why there is none.

What is in doubt is bad: an id that is there twice, another request's seal, an answer in which another one stands. Only
that member is: the others are kept, also those that were whole before the answer was cut off.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from backends.replies import least_tokens
from tasks.packs.codes import Codes
from tasks.packs.prompt import ANSWER, ANSWERS, ID, SEAL
from tasks.validate.shape import DECODER, NotJson, read_json
from tasks.validate.transport import without_thoughts

_BLOCK = re.compile(r"^<answer (\S+) (\S+)>[ \t]*\n(.*?)^</answer \1>[ \t]*$", re.MULTILINE | re.DOTALL)
_LIST = re.compile(rf'"{ANSWERS}"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")

MISSING = "there was no answer under its id"

LONGEST = 64
"""Characters for each token that may be answered, beyond which nothing of it is read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """By a member's number, from 0. Each is in `good` or in `bad`."""

    good: dict[int, str]  # its answer, as it would have come alone
    bad: dict[int, str]  # why it has none, as a clause
    foreign: int = 0  # answers under ids that were not asked; dropped
    refused: dict[int, str] = field(default_factory=dict)  # of the bad, what stood under its id


@dataclass(frozen=True, slots=True)
class _Found:
    """One answer as it came."""

    id: str
    seal: str
    text: str
    problem: str = ""


def read_pack(text: str, codes: Sequence[Codes], *, tags: bool, max_tokens: int) -> Reading:
    """`tags`: answers were asked for in tags, as text; else as JSON objects. `max_tokens`: of one.

    Never raises for what a model says.
    """
    said = without_thoughts(text) or ""
    if len(said) > LONGEST * max_tokens * len(codes):
        return Reading({}, dict.fromkeys(range(len(codes)), "all of the answers together were far too long"))
    found = _in_tags(said) if tags else _in_json(said)
    numbers = {each.id: number for number, each in enumerate(codes)}
    secrets = [code for each in codes for code in (each.id, each.seal)]
    times = Counter(each.id for each in found)
    good: dict[int, str] = {}
    bad: dict[int, str] = {}
    refused: dict[int, str] = {}
    foreign = 0
    for each in found:
        number = numbers.get(each.id)
        if number is None:
            foreign += 1
            continue
        problem = each.problem
        if times[each.id] > 1:
            problem = f"there were {times[each.id]} answers under its id"
        elif each.seal != codes[number].seal:
            problem = "its answer has not the seal of its request, so it may be another one's"
        elif not problem and any(code in each.text.lower() for code in secrets):
            problem = "another answer, or a part of one, stands in its answer"
        elif not problem and len(each.text) > max_tokens and least_tokens(each.text) > max_tokens:
            problem = f"its answer is longer than the {max_tokens} tokens that one may have"
        if problem:
            bad[number], refused[number] = problem, each.text
        else:
            good[number] = each.text
    for number in range(len(codes)):
        if number not in good and number not in bad:
            bad[number] = MISSING
    return Reading(good, bad, foreign, refused)


def _in_tags(text: str) -> list[_Found]:
    return [_Found(block[1], block[2], block[3].strip("\n")) for block in _BLOCK.finditer(text)]


def _in_json(text: str) -> list[_Found]:
    try:
        members = read_json(text).data.get(ANSWERS)
        entries = members if isinstance(members, list) else []
    except NotJson:
        entries = _whole_members(text)
    return [_found(entry) for entry in entries]


def _found(entry: Any) -> _Found:
    if not isinstance(entry, dict) or not isinstance(entry.get(ID), str):
        return _Found("", "", "")
    seal, answer = entry.get(SEAL), entry.get(ANSWER)
    problem = ""
    if set(entry) != {ID, SEAL, ANSWER}:
        problem = "its answer has other properties than were asked for"
    elif not isinstance(answer, dict):
        problem = "its answer is no JSON object"
    said = answer if isinstance(answer, str) else _dumped(answer)
    return _Found(entry[ID], seal if isinstance(seal, str) else "", said, problem)


def _dumped(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # broken Unicode or a huge number: escaped, so that the checks see it as it was
        return json.dumps(value)


def _whole_members(text: str) -> list[Any]:
    """Of an answer that was cut off, or is broken further on: the members before that. Of several lists those of all,
    so that what was answered twice is seen."""
    starts = [match.end() for match in _LIST.finditer(text)]
    if not starts and (bare := text.find("[")) >= 0:
        starts = [bare + 1]
    entries: list[Any] = []
    at = 0
    for start in starts:
        if start < at:
            continue  # it is within a member
        at = start
        while True:
            between = _BETWEEN.match(text, at)
            assert between is not None  # it matches nothing, too
            at = between.end()
            try:
                entry, at = DECODER.raw_decode(text, at)
            except (ValueError, RecursionError):
                break
            entries.append(entry)
    return entries
