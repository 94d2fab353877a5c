"""Backends and dialects of other packages: real distributions on the path, found by their entry points."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sources
from backends.registry import choose, find, make
from backends.testing import CHECKS, Case, Check
from deployments.deploy import declared
from deployments.pools import pools
from models.endpoint import Endpoint
from models.errors import SettingsError, SourceError
from models.plugins import BACKENDS, backend_names, plugins
from models.settings import Settings

from .conftest import in_seconds, make_request

DOCUMENT = Path(__file__).parents[2] / "docs" / "plugins.md"

DIALECT = """
from models.board import ParsedItem
from models.enums import Declared
from sources.outline import Outline

NAME = "own_lines"


def score(document):
    return 1.0 if document.raw and document.raw[0] == "#own" else 0.0


def parse(document):
    if "boom" in document.raw:
        raise ZeroDivisionError("boom")
    items = [
        ParsedItem(line=number, title=line[2:], kind="task", status=Declared.TODO)
        for number, line in enumerate(document.raw, 1)
        if line.startswith("! ")
    ]
    return Outline(items=items)
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution for the length of the test: its module, and its dist-info with entry points."""
    before = set(sys.modules)

    def run(name: str, code: str, **groups: dict[str, str]) -> None:
        place = tmp_path / name
        info = place / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (place / f"{name}.py").write_text(textwrap.dedent(code))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = []
        for group, points in groups.items():
            lines.append(f"[penstock.{group}]")
            lines += [f"{point} = {value}" for point, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(place))

    yield run
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def documented() -> str:
    """The backend of docs/plugins.md."""
    blocks = DOCUMENT.read_text("utf-8").split("```python\n")
    return next(block.partition("```")[0] for block in blocks if "class MyBackend" in block)


@pytest.fixture
def mine(install: Install) -> None:
    install("my_package", documented(), backends={"mine": "my_package:MyBackend"})


def endpoint(**values: Any) -> Endpoint:
    return Endpoint.model_validate({"backend": "mine", "url": "mine://here"} | values)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_the_documented_backend_keeps_the_contract_as_documented(check: Check) -> None:
    await check(Case(make(endpoint()), model="own", schema=False))


async def test_the_contract_sees_who_does_not_keep_it(install: Install) -> None:
    careless = documented().replace(">= deadline", "< 0").replace('"own"', '""')
    install("my_package", careless, backends={"mine": "my_package:MyBackend"})
    said: dict[str, str] = {}
    for check in CHECKS:
        try:
            await check(Case(make(endpoint()), model="own", schema=False))
        except AssertionError as error:
            said[check.__name__] = str(error)
    assert said.keys() == {"probe_says_what_is_there", "answers", "a_deadline_that_passed_asks_nobody"}
    assert all(said.values())


@pytest.mark.usefixtures("mine")
async def test_it_is_chosen_where_it_is_declared_and_only_there(tmp_path: Path) -> None:
    assert "mine" in backend_names()
    loud = endpoint(options={"shout": True})
    settings = Settings(home=tmp_path, endpoints=[loud], limits={"mine": 2}, backend="mine")
    chosen, probe = await choose(settings, "mine")
    assert (chosen.model, probe.reachable) == ("own", True)
    assert (await choose(settings, "auto"))[0].backend == "mine"
    answer = await make(chosen).answer(make_request("own"), in_seconds(1))
    assert "02:30 UTC. IT IS KEPT" in answer.text
    assert all(each.backend != "mine" for each, _ in await find(Settings(home=tmp_path)))


@pytest.mark.usefixtures("mine")
def test_it_gets_a_pool_and_a_deployment(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, endpoints=[endpoint(), endpoint(url="mine://there")])
    assert {pool.name: pool.limit for pool in pools(settings)}["mine"] == 2
    (drain,) = [each for each in declared(settings) if each.name == "mine"]
    assert (drain.full_name, drain.pool, drain.parameters) == ("execute/mine", "mine", {"backend": "mine"})
    assert "mine" not in {pool.name for pool in pools(Settings(home=tmp_path))}


def test_without_the_package_its_name_is_unknown() -> None:
    with pytest.raises(ValueError, match="'mine' is no backend; use one of ollama"):
        endpoint()


@pytest.mark.parametrize(
    ("code", "value", "words"),
    [
        ("import not_there_at_all", "broken:Backend", "ModuleNotFoundError"),
        ("x = 1", "broken:Backend", "can't be imported"),
        ("1 / 0", "broken:Backend", "ZeroDivisionError"),
        ("def Backend(endpoint): return 7", "broken:Backend", "is no backend: it lacks"),
    ],
)
def test_a_package_that_can_not_be_used_is_named(install: Install, code: str, value: str, words: str) -> None:
    install("broken", code, backends={"mine": value})
    with pytest.raises(SettingsError, match=words) as caught:
        make(endpoint())
    assert "broken 1.2" in str(caught.value)


def test_names_that_are_taken(install: Install) -> None:
    install("first", "", backends={"mine": "first:X"})
    install("second", "", backends={"mine": "second:X"})
    with pytest.raises(SettingsError, match=r"second 1\.2 and first|first 1\.2 and second"):
        plugins(BACKENDS)
    make(Endpoint(backend="ollama", url="http://127.0.0.1:1"))  # who does not need it is not touched


def test_a_package_can_not_take_the_place_of_what_is_there(install: Install) -> None:
    install("evil", "", backends={"ollama": "evil:X"})
    with pytest.raises(SettingsError, match="which Penstock has itself"):
        backend_names()


def test_a_dialect_of_a_package_reads_boards(install: Install) -> None:
    install("own_dialect", DIALECT, sources={"own": "own_dialect"})
    board = sources.parse(b"#own\n! One\n! Two\n", "plan.own")
    assert board.dialect == "own_lines"
    assert [item.title for item in board.items] == ["One", "Two"]
    assert sources.parse(b"- [ ] One\n", "plan.md").dialect == "gfm"
    assert sources.parse(b"! One\n", "plan.md", "own_lines").items
    with pytest.raises(SourceError, match=r"own_dialect 1\.2 failed on it \(ZeroDivisionError: boom\)"):
        sources.parse(b"#own\nboom\n", "plan.own")
    with pytest.raises(SourceError, match="own_lines"):
        sources.parse(b"x\n", "plan.md", "nope")


@pytest.mark.parametrize(
    ("code", "words"), [("NAME = 'x'", "lacks one of"), (DIALECT.replace("own_lines", "gfm"), "has itself")]
)
def test_a_dialect_that_can_not_be_used(install: Install, code: str, words: str) -> None:
    install("odd_dialect", code, sources={"odd": "odd_dialect"})
    with pytest.raises(SettingsError, match=words) as caught:
        sources.parse(b"- [ ] One\n", "plan.md")
    assert "odd_dialect 1.2" in str(caught.value)
