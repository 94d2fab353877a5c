"""`penstock pause`, `resume`, `boards set`, `run --lane`: said at run time, shown where it matters."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PLAN = "# Plan\n\n- [ ] Elect a {name} warden\n- [x] Paint the {name} fence\n"

CONFIG = {
    "PENSTOCK_ENDPOINTS": '[{"backend": "ollama", "url": "http://gpu-1:11434/", "model": "qwen3:8b", "device": "gpu"}]',
    "PENSTOCK_DEVICES": '[{"name": "gpu"}]',
}


@pytest.fixture
def board(penstock: Any, request: pytest.FixtureRequest) -> str:
    """A board that was run, with one item that waits for a person."""
    name = request.node.name.replace("[", "-").replace("]", "").removeprefix("test_")
    penstock.write(f"{name}.md", PLAN.format(name=name))
    assert penstock("run", f"{name}.md", "--backend", "extractive").code == 3
    return f"{name}.md"


def paused(penstock: Any, *words: str, env: dict[str, str] | None = None) -> list[dict[str, Any]]:
    outcome = penstock("pause", *words, "--json", env=env)
    assert outcome.code == 0, outcome.err
    found: list[dict[str, Any]] = orjson.loads(outcome.out)
    return found


def refused(outcome: Any, *words: str) -> None:
    assert outcome.code == 2
    assert len(outcome.complaints) == 1
    for word in words:
        assert word in outcome.err


def test_a_board_is_paused_listed_and_resumed(penstock: Any, board: str) -> None:
    (made,) = paused(penstock, "board", board, "--for", "2h", "--reason", "the warden is away")
    assert made["name"].endswith(f"/{board}")
    assert (made["kind"], made["reason"]) == ("board", "the warden is away")
    assert made in paused(penstock)
    outcome = penstock("pause")
    assert board in outcome.out
    assert "the warden" in outcome.out
    assert "the warden is away" in penstock("status").out
    outcome = penstock("run", board, "--backend", "extractive")
    assert f"The board {board} is paused until" in " ".join(outcome.out.split())
    outcome = penstock("resume", "board", board)
    assert f"The board {board} is no longer paused." in outcome.out
    assert made not in paused(penstock)
    refused(penstock("resume", "board", board), f"No board '{board}' is paused")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("model", "qwen3:8b"), "qwen3:8b"),
        (("endpoint", "http://gpu-1:11434"), "ollama http://gpu-1:11434"),
        (("endpoint", "ollama http://gpu-1:11434/"), "ollama http://gpu-1:11434"),
        (("backend", "vllm"), None),
        (("backend", "openai"), "openai"),
        (("device", "gpu"), "gpu"),
        (("recipe", "split"), "split"),
        (("recipe", "split qwen3:8b"), "split qwen3:8b"),
        (("model", "qwen3:9b"), None),
        (("endpoint", "http://gpu-2:11434"), None),
        (("device", "cpu"), None),
        (("recipe", "splitt"), None),
        (("recipe", "split nothing"), None),
        (("board", "no-such-board.md"), None),
    ],
)
def test_each_kind_has_its_names(penstock: Any, words: tuple[str, str], name: str | None) -> None:
    before = paused(penstock)
    if name is None:
        refused(penstock("pause", *words, env=CONFIG), "")
        assert paused(penstock) == before
        return
    (made,) = paused(penstock, *words, env=CONFIG)
    assert made["name"] == name
    assert penstock("resume", *words).code == 0, "without its settings, too"
    assert paused(penstock) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model", "qwen3:9b"), "did you mean qwen3:8b?"),
        (("endpoint", "http://gpu-2:11434"), "did you mean http://gpu-1:11434"),
        (("recipe", "splitt"), "did you mean split?"),
        (("device", "cpu"), "did you mean gpu?"),
        (("device", "xyz"), "There are gpu. Nothing was changed."),
        (("model",), "Name the model, for example"),
        (("--for", "2h"), "Name what is to be paused"),
        (("model", "qwen3:8b", "--for", "soon"), "'soon' is no length of time"),
    ],
)
def test_what_can_not_be_is_said_with_what_is_near(penstock: Any, words: tuple[str, ...], said: str) -> None:
    refused(penstock("pause", *words, env=CONFIG), said)


def test_a_kind_that_is_none_is_an_error(penstock: Any) -> None:
    outcome = penstock("pause", "planet", "mars")
    assert outcome.code == 2
    assert "'planet' is not one of 'board'" in " ".join(outcome.err.replace("│", " ").split())


def test_the_lane_of_a_run_is_that_of_its_boards(penstock: Any, board: str) -> None:
    def state() -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(penstock("boards", "show", board, "--json").out)
        return {name: found[name] for name in ("lane", "wip")}

    assert state() == {"lane": "normal", "wip": None}
    penstock("run", board, "--backend", "extractive", "--lane", "interactive")
    assert state() == {"lane": "interactive", "wip": None}
    penstock("run", board, "--backend", "extractive")
    assert state() == {"lane": "interactive", "wip": None}
    outcome = penstock("boards", "set", board, "--lane", "bulk", "--wip", "2")
    assert f"{board}: lane bulk, at most 2 items at once." in " ".join(outcome.out.split())
    assert "1 open item changed lanes." in outcome.out
    assert state() == {"lane": "bulk", "wip": 2}
    assert "Lane bulk, at most 2 at once." in penstock("boards", "show", board).out
    assert "no limit of its own" in " ".join(penstock("boards", "set", board, "--wip", "0").out.split())
    refused(penstock("boards", "set", board), "--lane, --wip or both")
    refused(penstock("boards", "set", "no-such-board.md", "--wip", "1"), "no-such-board.md")


def test_a_strike_is_in_the_queue_and_a_retry_lets_it_go_on(penstock: Any) -> None:
    with penstock.database.connect(autocommit=True) as connection:
        connection.execute("insert into streak values ('split', 'm1', 21, '{1,2,3}', 'rule: too short')")
        connection.execute("insert into pause (kind, name, by) values ('recipe', 'split m1', 'penstock')")
        row = connection.execute(
            "insert into review (subject, kind, title, reason, error_type, details)"
            " values ('strike:split:m1', 'strike', 'The recipe split on the model m1 is stopped', 'why', 'poison', %s)"
            " returning id",
            ['{"recipe": "split", "model": "m1"}'],
        ).fetchone()
    number = str(row[0])
    outcome = penstock("review", "list", "--kind", "strike")
    assert "The recipe split on the model m1 is stopped" in " ".join(outcome.out.split())
    shown = penstock("review", "show", number).out
    assert "Retry lets it go on, reject leaves it stopped." in shown
    assert f"penstock review retry|reject {number}" in shown
    refused(penstock("review", "accept", number), "has no answer")
    assert penstock("review", "retry", number, "--no-go-on").code == 0
    assert paused(penstock) == []
