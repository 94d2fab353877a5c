"""What the documents list is what the code has: settings, routes, deployments, statuses, error types."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from deployments.deploy import declared
from interfaces.http import create_app
from models.endpoint import Budget, Device, ModelSpec
from models.enums import ErrorType, Status
from models.settings import NOT_SETTINGS, Endpoint, Settings
from sql.connection import Database

if TYPE_CHECKING:
    from .conftest import Document

ROOT = Path(__file__).resolve().parents[2]


def defaults(model: type[BaseModel]) -> dict[str, str]:
    """Each field's default, as the tables write it."""
    found: dict[str, str] = {}
    for name, info in model.model_fields.items():
        if name == "home":
            found[name] = "see below"
        elif info.is_required():
            found[name] = "required"
        else:
            value = info.get_default(call_default_factory=True)
            assert value is not PydanticUndefined
            found[name] = "none" if value is None else f"`{value}`"
    return found


def test_every_setting_is_documented_with_its_variable_and_default(settings_page: Document) -> None:
    rows = settings_page.rows("setting", "variable", "default", "meaning")
    assert {row[0].strip("`"): row[2] for row in rows} == defaults(Settings)
    assert [row[1] for row in rows] == [f"`PENSTOCK_{row[0].strip('`').upper()}`" for row in rows]
    assert all(row[3] for row in rows)


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("field", Endpoint),
        ("of a model", ModelSpec),
        ("of a device", Device),
        ("of a budget", Budget),
    ],
)
def test_every_field_of_a_table_is_documented(
    settings_page: Document, heading: str, model: type[BaseModel]
) -> None:
    rows = settings_page.rows(heading, "default", "meaning")
    assert {row[0].strip("`"): row[1] for row in rows} == defaults(model)


def test_variables_in_the_documents_are_settings(documents: list[Document]) -> None:
    known = {f"PENSTOCK_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    for document in documents:
        for name in re.findall(r"\bPENSTOCK_[A-Z_]+[A-Z]\b", document.text):
            assert name.partition("__")[0] in known, f"{document.name}: {name}"


def test_toml_in_the_documents_is_valid_settings(documents: list[Document], tmp_path: Path) -> None:
    seen = 0
    for document in documents:
        for block in document.blocks("toml"):
            Settings.model_validate({"home": tmp_path, **tomllib.loads(block)})
            seen += 1
    assert seen >= 3


def test_routes_are_those_of_the_door(documents: list[Document], tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path), Database({"dbname": "none"}), SecretStr("x" * 16))
    there = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    said: set[tuple[str, str]] = set()
    for document in documents:
        said |= set(re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/[\w/{}]*)", document.text))
    assert said == there


def test_deployments_are_those_of_prefect_yaml(
    documents: list[Document], operations: Document, tmp_path: Path
) -> None:
    there = {each.full_name: each for each in declared(Settings(home=tmp_path), ROOT / "prefect.yaml")}
    flows = "|".join({each.flow_name for each in there.values()})
    for document in documents:
        for name in re.findall(rf"(?<![\w/.])((?:{flows})/\w+)\b(?![/.])", document.text):
            assert name in there, f"{document.name}: {name}"
    assert {name for name in there if f"`{name}`" not in operations.text} == set()


def test_parameters_of_deployments_are_those_of_the_flows(operations: Document) -> None:
    rows = operations.rows("deployment", "what", "parameters")
    assert len(rows) >= 6
    for names, _, parameters in rows:
        known: set[str] = set()
        for flow in re.findall(r"`(\w+)/", names):
            known |= arguments(ROOT / "flows" / f"{flow}.py", flow)
        assert set(re.findall(r"`(\w+)`", parameters)) <= known, names


def arguments(path: Path, function: str) -> set[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            return {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
    raise AssertionError(f"{path} has no function {function}")


def test_error_types_are_all_there_and_no_others(operations: Document) -> None:
    rows: list[Any] = operations.rows("error type", "meaning")
    said = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(said) == sorted(ErrorType)
    charged = [ErrorType(name).charged for name in said]
    assert charged == sorted(charged), "the server's faults come first"


def test_statuses_are_all_there(documents: list[Document], operations: Document) -> None:
    sentence = operations.text.partition("Statuses of items: ")[2].partition(".\n")[0]
    assert re.findall(r"`(\w+)`", sentence) == [status.label for status in Status]
    diagram = next(d for d in documents if d.name == "docs/how-it-works.md").blocks("mermaid")[0]
    labels = {status.label for status in Status}
    assert {word for pair in re.findall(r"(\w+) --> (\w+)", diagram) for word in pair} <= labels
