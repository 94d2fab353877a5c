"""A split as a person reads and writes it: a numbered list, the same text in both directions.

    1. Write the schema
       - the table has a primary key
    2. Write the endpoint
       > It answers in JSON.
       - GET /levels returns the levels
       - needs: 1

Indented bullets say when the part is done, lines with `>` what else it says, `needs` which parts come first.
JSON as models write it ({"subtasks": [...]}) is read, too. `WHOLE` instead of a list: do not split the item, do it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from models.errors import InputError
from models.words import quoted
from tasks.ingest.rows import normalised

MAX_PARTS = 50
LONGEST_TITLE = 300
LONGEST_PART = 8_000  # characters of a part's criteria and details together
WHOLE = "whole"

_PART = re.compile(r"(?:(?P<number>\d{1,3})[.)]|[-*+])[ \t]+(?P<text>\S.*)")
_BELOW = re.compile(r"(?:[-*+]|\d{1,3}[.)])[ \t]+(?P<text>\S.*)")
_NEEDS = re.compile(r"(?:[-*+][ \t]+)?needs[ \t]*:[ \t]*(?P<numbers>[\d,;# \t]*|none|-)", re.IGNORECASE)


def plan_text(data: Mapping[str, Any]) -> str:
    """The list of a split that passed `split_problem`."""
    lines: list[str] = []
    for number, part in enumerate(data["subtasks"], 1):
        lines.append(f"{number}. {_line(part['title'])}")
        lines += [f"   > {_line(line)}" for line in str(part.get("body") or "").split("\n") if line.strip()]
        own = " (its own text: no criterion is given)" if part.get("criteria") == "title" else ""
        lines += [f"   - {_line(text)}{own}" for text in part["acceptance"] if _line(text)]
        if needs := part.get("needs"):
            lines.append(f"   - needs: {', '.join(map(str, needs))}")
    return "\n".join(lines)


def parse_plan(text: str) -> dict[str, Any]:
    """Read such a list, or JSON. Raises InputError, with the line, for what is neither. Not checked yet."""
    if text.lstrip()[:1] in ("{", "["):
        return _json(text)
    parts: list[dict[str, Any]] = []
    written: dict[int, int] = {}  # the number that stands there, and the part's place
    for count, line in enumerate(text.split("\n"), 1):
        said = line.strip()
        if not said:
            continue
        part = _PART.fullmatch(said)
        if line[0] not in " \t" and part is not None:
            parts.append({"title": part["text"].strip(), "acceptance": [], "needs": []})
            number = int(part["number"]) if part["number"] else len(parts)
            if number in written:
                raise InputError(
                    f"Line {count} of the plan: there are two parts {number}. Number them 1, 2, 3 ..."
                )
            written[number] = len(parts)
        elif not parts:
            raise InputError(
                f"Line {count} of the plan, {quoted(said)}, is no part. Write each part as `1. Title`, and below it, "
                f"indented, `- when it is done`; or write {WHOLE!r} alone to have the item done without a split."
            )
        else:
            _below(parts[-1], said)
    for part_ in parts:
        part_["needs"] = [written.get(number, -number) for number in part_["needs"]]
    return {"subtasks": parts}


def _below(part: dict[str, Any], said: str) -> None:
    entry = _BELOW.fullmatch(said)
    if needs := _NEEDS.fullmatch(said):
        part["needs"] += [int(number) for number in re.findall(r"\d+", needs["numbers"])]
    elif entry is not None:
        part["acceptance"].append(entry["text"].strip())
    else:
        detail = said.removeprefix(">").strip()
        part["body"] = "\n".join(filter(None, (part.get("body"), detail)))


def _json(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"The plan begins like JSON and is none: {error}. Correct it, or write a list."
        ) from error
    if isinstance(value, list):
        value = {"subtasks": value}
    if not isinstance(value, dict) or not isinstance(value.get("subtasks"), list):
        raise InputError(
            'The plan is JSON without `subtasks`. Write {"subtasks": [{"title": ..., "acceptance": [...]}]}.'
        )
    return {"subtasks": value["subtasks"]}


def split_problem(data: Mapping[str, Any]) -> str | None:
    """Why this split can't be used, as a sentence for a person; None when it can.

    `data` is {"subtasks": [{"title": str, "acceptance": [str, ...], "needs": [int, ...]}, ...]}; `needs` (numbers of
    other subtasks, from 1) and `body` may be absent.
    """
    parts = data.get("subtasks")
    if not isinstance(parts, list) or not parts:
        return "The split has no subtasks."
    if len(parts) > MAX_PARTS:
        return f"The split has {len(parts)} subtasks; at most {MAX_PARTS} can be looked over by a person."
    seen: set[str] = set()
    for number, part in enumerate(parts, 1):
        title = part.get("title") if isinstance(part, dict) else None
        if not isinstance(title, str) or not title.strip():
            return f"Subtask {number} has no title."
        if len(title) > LONGEST_TITLE:
            return f"Subtask {number} has a title of {len(title)} characters; at most {LONGEST_TITLE} can be read."
        criteria = part.get("acceptance")
        if not isinstance(criteria, list) or not any(_criterion(text) for text in criteria):
            return f"Subtask {number} ({title[:80]!r}) has no acceptance criteria: nobody could tell when it is done."
        length = sum(len(str(text)) for text in criteria) + len(str(part.get("body") or ""))
        if length > LONGEST_PART:
            return f"Subtask {number} ({title[:80]!r}) has {length} characters below its title; at most {LONGEST_PART}."
        if normalised(title) in seen:
            return f"Subtask {number} ({title[:80]!r}) is there twice."
        seen.add(normalised(title))
    if len(parts) < 2:
        return "The split has one subtask only: that is the item again."
    return _needs_problem(parts)


def _criterion(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _needs_problem(parts: Sequence[Mapping[str, Any]]) -> str | None:
    waits: dict[int, set[int]] = {}
    for number, part in enumerate(parts, 1):
        needs = part.get("needs") or []
        if not isinstance(needs, list) or not all(type(need) is int for need in needs):
            return f"Subtask {number} needs {quoted(str(needs))}; `needs` lists numbers of other subtasks."
        if wrong := [need for need in needs if not 1 <= need <= len(parts)]:
            return (
                f"Subtask {number} needs subtask {abs(wrong[0])}, which is not there: there are {len(parts)}."
            )
        waits[number] = set(needs)
    while free := [number for number, needs in waits.items() if not needs & waits.keys()]:
        for number in free:
            del waits[number]
    if waits:
        ring = ", ".join(map(str, waits))
        return f"The subtasks {ring} wait for one another, so none of them could start."
    return None


def _line(text: object) -> str:
    return " ".join(str(text).split())
