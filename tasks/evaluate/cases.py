"""Golden sets as files: YAML with `cases`, or JSONL with a case a line. docs/evaluation.md shows them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from models.enums import ErrorType
from models.errors import InputError

SUFFIXES = (".yaml", ".yml", ".jsonl")


class Expect(BaseModel):
    """Properties of a good answer. Each is a part of the score, and so is that the recipe's own checks pass."""

    model_config = ConfigDict(extra="forbid")
    contains: list[str] = Field(default_factory=list, description="in the answer's text, whatever its case")
    lacks: list[str] = Field(default_factory=list, description="not in it")
    matches: list[str] = Field(default_factory=list, description="regular expressions, found anywhere in it")
    cites: list[str] = Field(default_factory=list, description="passages that are cited")
    fields: dict[str, Any] = Field(
        default_factory=dict, description="values of the answer's JSON, by `name` or `name.name`"
    )
    error: ErrorType | None = Field(
        default=None, description="instead of all others: there is no good answer, and it must fail so"
    )

    @field_validator("matches")
    @classmethod
    def _expressions(cls, value: list[str]) -> list[str]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _alone(self) -> Expect:
        if self.error is not None and (
            self.contains or self.lacks or self.matches or self.cites or self.fields
        ):
            raise ValueError("`error` stands alone: of an answer that must fail nothing else is expected")
        if self.error is not None and not self.error.charged:
            raise ValueError(f"{str(self.error)!r} is the server's failure, not an answer's")
        return self


class Case(BaseModel):
    """One question."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(min_length=1, description="unique in its file")
    title: str = Field(min_length=1, description="the item's line")
    body: str = ""
    kind: str = "task"
    parent: str = Field(default="", description="the title of what it stands under")
    passages: dict[str, str] = Field(default_factory=dict, description="text by cite; memory is not searched")
    expect: Expect = Field(default_factory=Expect)

    @property
    def hash(self) -> str:
        """Of all it says: another text is another case."""
        text = orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    recipe: str | None = None
    about: str = ""
    cases: list[Case] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class GoldenSet:
    name: str  # of its file, without the suffix
    path: str
    recipe: str
    cases: tuple[Case, ...]


def read_sets(paths: Sequence[Path]) -> list[GoldenSet]:
    """All sets of these files and folders. Raises InputError that names file and place."""
    sets = [_read(path) for path in _files(paths)]
    by_name: dict[str, str] = {}
    for each in sets:
        if (other := by_name.setdefault(each.name, each.path)) != each.path:
            raise InputError(f"{each.path} and {other} have the same name. Rename one of them.")
    return sets


def _files(paths: Sequence[Path]) -> Iterable[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES)
            if not inside:
                raise InputError(f"{path} has no golden set: no file that ends with {', '.join(SUFFIXES)}.")
            found |= dict.fromkeys(inside)
        elif path.suffix in SUFFIXES:
            found[path] = None
        else:
            raise InputError(
                f"{path} is no golden set and no folder of them. Name a file that ends with {', '.join(SUFFIXES)}."
                if path.exists()
                else f"{path} is not there. Name a golden set, or a folder of them (docs/evaluation.md)."
            )
    return found


def _read(path: Path) -> GoldenSet:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    try:
        values = _lines(text, path) if path.suffix == ".jsonl" else yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: no YAML: {getattr(error, 'problem', None) or error}.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: a golden set is `cases:` with a list below it.")
    try:
        file = _File.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: `{where}`: {first['msg'].removeprefix('Value error, ')}.") from error
    seen: set[str] = set()
    for case in file.cases:
        if case.id in seen:
            raise InputError(f"{path}: the id {case.id!r} is there twice. Give each case its own.")
        seen.add(case.id)
    return GoldenSet(path.stem, str(path), file.recipe or path.stem, tuple(file.cases))


def _lines(text: str, path: Path) -> dict[str, Any]:
    cases = []
    for number, line in enumerate(text.split("\n"), 1):  # U+2028 and others end no line of JSON
        if not line.strip():
            continue
        try:
            cases.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: no JSON: {error}.") from error
    return {"cases": cases}
