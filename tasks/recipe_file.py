"""One recipe file: its front matter and sections, checked as far as the file alone allows."""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jinja2 import TemplateSyntaxError, meta
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, ValidationError

from models.errors import RecipeError
from models.plugins import backend_names, is_backend
from models.recipe import Check, CouncilMember, CouncilRule, Example, Grounding, JudgeRule, RecipeHeader
from tasks.foreign import cut
from tasks.packs.prompt import MOST_TOKENS, TOKENS, PackError, check_packable
from tasks.prompts import SYSTEM_VARIABLES, TEMPLATE_ERRORS, VARIABLES, ItemView, environment
from tasks.validate.columns import COLUMNS, PROPERTY

_SECTION = re.compile(r"^# +(\w+)[ \t]*$", re.MULTILINE)
_COLUMN_KEYS = ("column", "column_A", "column_B", "column_list", "column_set")
# libyaml's is ten times faster: every run reads all recipes before its first call.
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
COUNCIL_PROPERTIES = ("decision", "reasons", "risks", "positions", "citations", "confidence")
"""What the answer of a council's synthesis is read by (tasks/council/combine.py)."""

_LAX = {
    "mostly": "rows would pass because others are good",
    "row_condition": "rows would pass unseen",
    "condition_parser": "rows would pass unseen",
    "ignore_row_if": "rows would pass unseen",
    "result_format": "Penstock sets it",
    "catch_exceptions": "Penstock sets it",
    "meta": "Penstock sets it",
    "batch_id": "Penstock sets it",
}


def parse_recipe(text: str, path: str) -> tuple[RecipeHeader, str, str]:
    """Header, system template, prompt template. Raises RecipeError, its message beginning `path:line:`."""
    text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        raise RecipeError(f"{path}:1: a recipe begins with front matter between two lines `---`.")
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise RecipeError(f"{path}:1: the front matter has no second line `---` to end it.")
    header = _header("\n".join(lines[1:end]), path)
    system, prompt = _sections(lines, end + 1, path)
    return header, system, prompt


def _header(text: str, path: str) -> RecipeHeader:
    try:
        node = yaml.compose(text, Loader=_LOADER)
        values = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 2}" if mark else ""
        said = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"{path}{line}: the front matter is no YAML: {said}.") from error
    if not isinstance(values, dict) or node is None:
        raise RecipeError(f"{path}:2: the front matter must be `key: value` lines, beginning with `name:`.")
    _refuse_duplicates(node, path)
    try:
        header = RecipeHeader.model_validate(values)
    except ValidationError as error:
        # A mistyped key explains why the right one is missing, so it goes first.
        problem = min(error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in problem["loc"])
        message = f"{problem['msg']}."
        if problem["type"] == "extra_forbidden":
            message = "is no key of a recipe" + _meant(str(problem["loc"][-1]), _known_keys(problem["loc"]))
        raise RecipeError(f"{path}:{_line(node, problem['loc'])}: `{where}`: {message}") from error
    _Checker(header, node, path).run()
    return header


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    parts: dict[str, type[BaseModel]] = {"checks": Check, "examples": Example, "judge": JudgeRule}
    parts |= {"council": CouncilMember if len(loc) > 2 else CouncilRule}
    part = parts.get(str(loc[0]), RecipeHeader) if loc[1:] else RecipeHeader
    fields = part.model_fields
    return [field.alias or name for name, field in fields.items()]


def _meant(word: str, known: list[str]) -> str:
    """The end of a sentence about a word that is none of the known."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; there are {', '.join(sorted(known))}."


def _line(node: yaml.Node, loc: tuple[int | str, ...]) -> int:
    """The file's line of a place in the front matter; of the nearest thing around it where it is missing."""
    line = node.start_mark.line
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            pair = (node.value[part], node.value[part])
        else:
            pair = None
        if pair is None:
            break
        line, node = pair[0].start_mark.line, pair[1]
    return int(line) + 2


def _refuse_duplicates(node: yaml.Node, path: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                raise RecipeError(
                    f"{path}:{key.start_mark.line + 2}: `{key.value}` is there twice; keep one of them."
                )
            seen.add(str(key.value))
            _refuse_duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicates(value, path)


class _Checker:
    """What a header says must make sense together. `run` raises RecipeError for the first thing that does not."""

    def __init__(self, header: RecipeHeader, node: yaml.Node, path: str) -> None:
        self.header, self.node, self.path = header, node, path

    def fail(self, loc: tuple[int | str, ...], message: str) -> RecipeError:
        return RecipeError(f"{self.path}:{_line(self.node, loc)}: {message}")

    def run(self) -> None:
        for index, name in enumerate(self.header.backends):
            if not is_backend(name):
                raise self.fail(
                    ("backends", index), f"{name!r} is no backend{_meant(name, list(backend_names()))}"
                )
        if self.header.models and self.header.model is not None:
            raise self.fail(("models",), "`models` and `model` can't both be there; keep one of them.")
        for index, name in enumerate(self.header.models):
            if name in self.header.models[:index]:
                raise self.fail(("models", index), f"{name!r} is there twice; keep one of them.")
        properties = self._schema()
        if self.header.grounding is Grounding.REQUIRED:
            if "citations" not in properties:
                raise self.fail(
                    ("grounding",),
                    "`grounding: required` needs a schema with `citations` (a list of {cite, quote}).",
                )
            if self.header.passages == 0:
                raise self.fail(
                    ("passages",), "`grounding: required` needs passages; with 0 no answer could pass."
                )
        if self.header.council is not None:
            self._council(self.header.council, properties)
        if self.header.splits and "subtasks" not in properties:
            raise self.fail(("splits",), "`splits: true` needs a schema with `subtasks`.")
        if self.header.approve and not self.header.splits:
            raise self.fail(("approve",), "`approve: true` is for recipes that split (`splits: true`).")
        self._ladder()
        self._pack()
        for index, check in enumerate(self.header.checks):
            self._check(index, check, properties)

    def _pack(self) -> None:
        if self.header.pack is None:
            return
        for name in ("splits", "council"):
            if getattr(self.header, name):
                raise self.fail(("pack",), f"a recipe with `{name}` can't `pack`: its items are asked alone.")
        if 2 * (self.header.max_tokens + TOKENS) > MOST_TOKENS:
            raise self.fail(
                ("max_tokens",),
                f"`pack` needs shorter answers: two of {self.header.max_tokens} tokens are more than the {MOST_TOKENS} "
                f"that one request may bring. Take `pack` out, or set `max_tokens` to "
                f"{MOST_TOKENS // 2 - TOKENS} or less.",
            )
        try:
            check_packable(self.header.answer_schema)
        except PackError as error:
            raise self.fail(("answer_schema",), f"`pack` can't be used here: {error}.") from error

    def _ladder(self) -> None:
        ladder = self.header.ladder
        if ladder and (self.header.model is not None or self.header.models):
            other = "models" if self.header.models else "model"
            raise self.fail(("ladder",), f"`ladder` and `{other}` can't both be there; keep one of them.")
        for index, name in enumerate(ladder):
            if name in ladder[:index]:
                raise self.fail(("ladder", index), f"`ladder` has {name!r} twice; keep one of them.")
        most = self.header.max_attempts
        if most is not None and most < len(ladder):
            raise self.fail(
                ("max_attempts",),
                f"`ladder` has {len(ladder)} models, and `max_attempts: {most}` would never ask the last.",
            )

    def _council(self, rule: CouncilRule, properties: dict[str, Any]) -> None:
        names = [member.name for member in rule.members]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise self.fail(
                    ("council", "members", index, "name"), f"there are two members {name!r}; name them apart."
                )
        if rule.needed > len(names):
            raise self.fail(
                ("council", "quorum"), f"a quorum of {rule.quorum} can't be reached by {len(names)} members."
            )
        if missing := [name for name in COUNCIL_PROPERTIES if name not in properties]:
            raise self.fail(
                ("answer_schema",),
                f"a recipe with a `council` decides: its schema needs {', '.join(f'`{name}`' for name in missing)} "
                f"(as recipes/council.md has them).",
            )
        if self.header.grounding is not Grounding.REQUIRED:
            raise self.fail(
                ("grounding",), "a council's decision must cite its members: `grounding: required`."
            )
        if self.header.splits:
            raise self.fail(("splits",), "a recipe with a `council` can't split.")

    def _schema(self) -> dict[str, Any]:
        schema = self.header.answer_schema
        if schema is None:
            return {}
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise self.fail(
                ("answer_schema", *error.absolute_path), f"the schema is wrong: {cut(error.message, 200)}."
            ) from error
        properties = schema.get("properties")
        if schema.get("type") != "object" or not isinstance(properties, dict):
            raise self.fail(
                ("answer_schema",), "the schema must be of `type: object` and list its `properties`."
            )
        if self.header.text_field not in properties:
            raise self.fail(
                ("text_field",),
                f"`text_field` is {self.header.text_field!r}, which is no property of the schema"
                f"{_meant(self.header.text_field, list(properties))}",
            )
        return properties

    def _check(self, index: int, check: Check, properties: dict[str, Any]) -> None:
        if check.expect not in expectation_types():
            raise self.fail(
                ("checks", index, "expect"),
                f"{check.expect!r} is no expectation of Great Expectations"
                f"{_meant(check.expect, sorted(expectation_types()))}",
            )
        for key, why in _LAX.items():
            if key in check.with_:
                raise self.fail(("checks", index, "with", key), f"`{key}` can't be used: {why}.")
        for key in _COLUMN_KEYS:
            named = check.with_.get(key, [])
            for column in [named] if isinstance(named, str) else named:
                known_property = str(column).startswith(PROPERTY) and column[len(PROPERTY) :] in properties
                if column in COLUMNS or known_property:
                    continue
                known = [*COLUMNS, *(PROPERTY + name for name in properties)]
                raise self.fail(
                    ("checks", index, "with", key), f"{column!r} is no column{_meant(str(column), known)}"
                )
        if (pattern := check.with_.get("regex")) is not None:
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                raise self.fail(
                    ("checks", index, "with", "regex"), f"{pattern!r} is no regular expression: {error}."
                ) from error


@cache
def expectation_types() -> frozenset[str]:
    """Names of the expectations that the installed Great Expectations has.

    From its file names: importing it takes seconds, and a wrong name must show before that.
    """
    spec = find_spec("great_expectations")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    names = {
        path.stem for folder in folders for path in Path(folder, "expectations", "core").glob("expect_*.py")
    }
    if not names:
        raise RecipeError(
            "The package great_expectations is not installed as expected, so checks can't be read. "
            "Install Penstock's pinned packages again (`make clean setup`)."
        )
    return frozenset(names)


def _sections(lines: list[str], start: int, path: str) -> tuple[str, str]:
    body = "\n".join(lines[start:])
    heads = {}
    for head in _SECTION.finditer(body):
        # Only the first of each: a prompt may have headings of its own.
        if head[1] in ("System", "Prompt") and head[1] not in heads:
            heads[head[1]] = head
    if list(heads) != ["System", "Prompt"] or body[: heads["System"].start()].strip():
        raise RecipeError(
            f"{path}:{start + 1}: after the front matter come two sections, `# System` and then `# Prompt`."
        )
    system = body[heads["System"].end() : heads["Prompt"].start()]
    prompt = body[heads["Prompt"].end() :]
    first = start + 1
    _template("System", system, first + body[: heads["System"].end()].count("\n"), path, SYSTEM_VARIABLES)
    _template("Prompt", prompt, first + body[: heads["Prompt"].end()].count("\n"), path, VARIABLES)
    return system.strip(), prompt.strip()


def _template(section: str, source: str, first: int, path: str, known: frozenset[str]) -> None:
    """Raises RecipeError for a template that can't be read or fails on sample text. `first`: its first line."""
    try:
        tree = environment.parse(source)
        used = meta.find_undeclared_variables(tree)
        if unknown := sorted(used - known):
            line = first + next(
                (n for n, text in enumerate(source.split("\n")) if re.search(rf"\b{unknown[0]}\b", text)), 0
            )
            why = "" if unknown[0] not in VARIABLES else " here: foreign text belongs into the section Prompt"
            raise RecipeError(
                f"{path}:{line}: {unknown[0]!r} is no variable{why}{_meant(unknown[0], sorted(known))}"
            )
        if used & {"item", "passages", "reason"} and "fence" not in used:
            raise RecipeError(
                f"{path}:{first}: the prompt shows foreign text without a fence; put it between lines with "
                f"`{{{{ fence }}}}`."
            )
        template = environment.from_string(tree)
        for full in (True, False):
            template.render(**_sample(full))
    except TemplateSyntaxError as error:
        raise RecipeError(
            f"{path}:{first + error.lineno - 1}: the section {section}: {error.message}."
        ) from error
    except TEMPLATE_ERRORS as error:
        raise RecipeError(f"{path}:{first}: the section {section} failed on sample text: {error}.") from error


def _sample(full: bool) -> dict[str, object]:
    word = "sample" if full else ""
    passage = {"cite": "docs/sample.md:1-2", "text": "sample"}
    return {
        "item": ItemView(kind="task", title="sample", ext_id=word, body=word, source=word, board_title=word,
                         parent_title=word, parent_body=word),
        "passages": [passage] if full else [],
        "reason": word,
        "fence": "0123456789abcdef",
        "schema": word,
    }  # fmt: skip
