"""Programs as backends: what they are given, what of them is read, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from backends.agents import AGENTS, described
from backends.command import CommandBackend
from backends.registry import choose, make
from backends.simulator import Simulator
from backends.testing import eventually
from models.calls import Image, ModelAnswer, ModelCallError
from models.endpoint import CommandSpec, Endpoint
from models.enums import ErrorType, TimeoutKind
from models.errors import SettingsError
from models.settings import Settings

from .conftest import in_seconds, make_request

AGENT = Path(__file__).with_name("agent.py")


def program(tmp_path: Path, code: str, name: str = "agent") -> str:
    """A program of these lines, by its path."""
    path = tmp_path / name
    path.write_text(f"#!{sys.executable}\nimport json, os, sys, time, subprocess\n{textwrap.dedent(code)}")
    path.chmod(0o755)
    return str(path)


def backend_of(*run: str, values: dict[str, Any] | None = None, **spec: Any) -> CommandBackend:
    given = {"backend": "command", "command": {"run": list(run), **spec}, **(values or {})}
    backend = make(Endpoint.model_validate(given))
    assert isinstance(backend, CommandBackend)
    return backend


async def outcome(
    backend: CommandBackend, seconds: float = 20, model: str = "default", **changes: Any
) -> ModelAnswer | ModelCallError:
    try:
        return await backend.answer(make_request(model, **changes), in_seconds(seconds))
    except ModelCallError as error:
        return error
    finally:
        await backend.close()


async def told(*args: Any, **kwargs: Any) -> ModelAnswer:
    answer = await outcome(*args, **kwargs)
    assert isinstance(answer, ModelAnswer), answer
    return answer


async def failed(*args: Any, **kwargs: Any) -> ModelCallError:
    error = await outcome(*args, **kwargs)
    assert isinstance(error, ModelCallError), error
    return error


def alive(mark: str) -> list[int]:
    """Processes that have this word among their arguments or variables."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


# --- what it is given ---------------------------------------------------------------------------------------


async def test_the_prompt_is_on_standard_input_and_text_comes_back(tmp_path: Path) -> None:
    path = program(tmp_path, "sys.stdout.write('<think>hm</think>' + sys.stdin.read().upper())")
    answer = await told(backend_of(path), system="be short", prompt="a; $(touch x) `y` 'é\n")
    assert answer.text == "BE SHORT\n\nA; $(TOUCH X) `Y` 'É"
    assert (answer.finish_reason, answer.model) == ("exit 0", "default")


async def test_arguments_are_arguments_whatever_is_in_them(tmp_path: Path) -> None:
    path = program(tmp_path, "print(json.dumps(sys.argv[1:]))")
    backend = backend_of(
        path, "$HOME", "a b", "{max_tokens}", "{other}", "-", model_args=["--model", "{model}"]
    )
    answer = await told(backend, model="m; rm -rf {max_tokens}", max_tokens=7)
    assert answer.text == '["$HOME", "a b", "7", "{other}", "--model", "m; rm -rf {max_tokens}", "-"]'


async def test_a_model_that_would_be_an_option_is_refused(tmp_path: Path) -> None:
    backend = backend_of(program(tmp_path, "print(1)"), model_args=["{model}"])
    error = await failed(backend, model="--dangerously")
    assert error.error_type is ErrorType.MODEL_MISSING


async def test_it_gets_the_variables_that_are_named_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_AGENT_KEY", "sk-mine")
    monkeypatch.setenv("SOMEBODY_ELSES_KEY", "sk-theirs")
    path = program(tmp_path, "print(json.dumps(sorted(os.environ)))")
    names = (await told(backend_of(path, env=["MY_AGENT_KEY", "NOT_SET"]))).text
    assert '"MY_AGENT_KEY"' in names
    assert '"PATH"' in names
    assert "SOMEBODY" not in names
    assert "PENSTOCK" not in names
    assert "NOT_SET" not in names


async def test_a_folder_of_its_own_that_is_gone_afterwards_or_a_given_one(tmp_path: Path) -> None:
    path = program(tmp_path, "open('left.txt', 'w').close(); print(os.getcwd())")
    first, second = [Path((await told(backend_of(path))).text) for _ in range(2)]
    assert first != second
    assert not first.exists()
    given = tmp_path / "given"
    given.mkdir()
    assert (await told(backend_of(path, folder=str(given)))).text == str(given.resolve())
    assert (given / "left.txt").exists()


# --- what is read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["claude", "codex", "gemini"])
async def test_known_agents_are_run_and_read_by_their_names(
    agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulator: Simulator
) -> None:
    form = {"gemini": "json"}.get(agent, agent)
    code = f"""
    if "--version" in sys.argv:
        print("{agent} 1.2.3")
        sys.exit(0)
    given = sys.argv[1:]
    model = given[given.index("--model") + 1]
    expected = {AGENTS[agent]["run"][1:]!r}
    assert [each for each in given if each not in ("--model", model)] == expected, given
    assert expected[-1:] != ["-"] or given[-1] == "-"
    os.execv(sys.executable, [sys.executable, {str(AGENT)!r}, "{form}", {simulator.openai_url!r}, model])
    """
    program(tmp_path, code, agent)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    declared = Endpoint.model_validate(
        {"backend": "command", "model": "sim:small", "command": {"agent": agent}}
    )
    assert declared.url == f"command://{agent}"
    endpoint, probe = await choose(Settings(home=tmp_path, endpoints=[declared]), "command")
    assert f"{agent} 1.2.3" in probe.detail
    backend = make(endpoint)
    assert isinstance(backend, CommandBackend)
    answer = await told(backend, model="sim:small")
    assert answer.text.startswith("Simulated: The nightly backup starts at 02:30")
    counts = (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens)
    if agent == "gemini":
        assert counts == (None, None, None)
    else:
        assert all(counts)
        assert answer.cached_tokens == {"claude": 3, "codex": 2}[agent]
    simulator.script(["rate_limited"])
    backend = make(endpoint)
    assert isinstance(backend, CommandBackend)
    error = await failed(backend, model="sim:small")
    assert error.error_type is ErrorType.RATE_LIMITED
    assert "ended with 1: " in str(error)


def test_what_is_given_comes_before_what_is_known_of_an_agent() -> None:
    spec = described(CommandSpec(agent="claude", run=["my-claude", "-p"], output="text", env=["X"]))
    assert (spec.run, spec.output) == (["my-claude", "-p"], "text")
    assert spec.env == [*AGENTS["claude"]["env"], "X"]
    assert spec.error == ["/is_error"]


JSONL: dict[str, Any] = {"output": "jsonl", "text": ["/text"], "error": ["/error"], "finish": "/done"}


@pytest.mark.parametrize(
    ("lines", "kind", "words"),
    [
        (['{"text": "a"}'], ErrorType.SERVER_ERROR, "without saying that its answer is finished"),
        (['{"done": 1}'], ErrorType.EMPTY, "no answer"),
        (['{"error": {"message": "usage limit reached"}}'], ErrorType.RATE_LIMITED, "usage limit reached"),
        (['{"text": "Credit low: log in again", "error": true, "done": 1}'], ErrorType.AUTH, "log in"),
        (['{"error": "boom"}', '{"text": "a", "done": 1}'], ErrorType.SERVER_ERROR, "boom"),
    ],
)
async def test_lines_that_are_no_answer(
    tmp_path: Path, lines: list[str], kind: ErrorType, words: str
) -> None:
    path = program(tmp_path, f"print({chr(10).join(lines)!r})")
    error = await failed(backend_of(path, **JSONL))
    assert error.error_type is kind
    assert words in str(error)


async def test_of_several_texts_the_last_counts(tmp_path: Path) -> None:
    path = program(tmp_path, """print('{"text": "a"}\\nnoise\\n{"text": "b"}\\n[1]\\n{"done": false}')""")
    assert (await told(backend_of(path, **JSONL))).text == "b"


@pytest.mark.parametrize("printed", ["", "no JSON", '{"other": 1}', "{"])
async def test_json_that_is_none(tmp_path: Path, printed: str) -> None:
    path = program(tmp_path, f"print({printed!r})")
    error = await failed(backend_of(path, output="json", text=["/text"]))
    assert error.error_type in (ErrorType.EMPTY, ErrorType.SERVER_ERROR)


async def test_what_it_says_at_the_end_is_told_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-very-secret")
    code = (
        "sys.stderr.write('x ' * 9000 + 'invalid api key ' + os.environ['MY_API_KEY'] + '\\n'); sys.exit(3)"
    )
    error = await failed(backend_of(program(tmp_path, code), env=["MY_API_KEY"]))
    assert error.error_type is ErrorType.AUTH
    assert "ended with 3" in str(error)
    assert "invalid api key ***" in str(error)
    assert "sk-very-secret" not in str(error) + repr(error)
    assert len(str(error)) < 500


async def test_a_program_that_was_killed_says_so(tmp_path: Path) -> None:
    error = await failed(backend_of(program(tmp_path, "os.kill(os.getpid(), 9)")))
    assert error.error_type is ErrorType.SERVER_ERROR
    assert "signal 9" in str(error)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    backend = backend_of(str(tmp_path / "nowhere"))
    probe = await backend.probe(in_seconds(5))
    assert not probe.reachable
    assert "no program" in probe.detail
    error = await failed(backend)
    assert error.error_type is ErrorType.UNAVAILABLE
    assert "No such file" in str(error)


async def test_pictures_are_not_for_programs(tmp_path: Path) -> None:
    backend = backend_of(program(tmp_path, "print(1)"))
    assert (await failed(backend, images=(Image("image/png", b"x"),))).error_type is ErrorType.MALFORMED


@pytest.mark.parametrize(("code", "words"), [("sys.exit(2)", "ended with 2"), ("time.sleep(60)", "in time")])
async def test_a_check_that_fails(tmp_path: Path, code: str, words: str) -> None:
    path = program(tmp_path, code)
    backend = backend_of(path, check=[path])
    probe = await backend.probe(in_seconds(1))
    assert not probe.reachable
    assert words in probe.detail


# --- limits -------------------------------------------------------------------------------------------------

FAMILY = """
mark = sys.argv[1]
child = "import time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", child, mark])
subprocess.Popen([sys.executable, "-c", child, mark], start_new_session=True)
open(os.environ["HOME"] + "/" + mark, "w").close()
"""


@pytest.mark.parametrize("how", ["time", "cancel", "output", "crash"])
async def test_nothing_of_it_is_left(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("backends.processes.TERM_SECONDS", 0.2)
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    then = {"output": "sys.stdout.write('x' * 100_000); sys.stdout.flush(); time.sleep(60)"}
    path = program(tmp_path, FAMILY + then.get(how, "time.sleep(60)"))
    backend = backend_of(path, mark, max_output=2048)
    if how == "crash":  # what `hear` meets ends the program, too

        def broken(*_: object) -> None:
            raise ModelCallError(ErrorType.SERVER_ERROR, "stop.")

        monkeypatch.setattr(backend, "_events", broken)
        path = program(tmp_path, FAMILY + "print('{}', flush=True); time.sleep(60)")
        backend._spec = backend._spec.model_copy(update={"output": "jsonl", "text": ["/a"]})
    task = asyncio.ensure_future(outcome(backend, seconds=1.5 if how == "time" else 60))
    await eventually((tmp_path / mark).exists, "the program runs", 20)
    if how == "cancel":
        assert len(alive(mark)) == 3
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        error = await task
        assert isinstance(error, ModelCallError)
        expected = {"time": ErrorType.TIMEOUT, "output": ErrorType.MALFORMED, "crash": ErrorType.SERVER_ERROR}
        assert error.error_type is expected[how]
        assert (error.timeout is TimeoutKind.TOTAL) is (how == "time")
    await eventually(lambda: not alive(mark), "all of its processes are gone")


async def test_a_helper_that_stays_does_not_hold_the_answer_up(tmp_path: Path) -> None:
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    code = (
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', sys.argv[1]]); print('yes')"
    )
    answer = await told(backend_of(program(tmp_path, code), mark), seconds=20)
    assert answer.text == "yes"
    assert answer.seconds < 15
    await eventually(lambda: not alive(mark), "the helper in its group is gone")


async def test_not_more_at_once_than_slots(tmp_path: Path) -> None:
    code = """
    place = sys.argv[1]
    open(f"{place}/{os.getpid()}", "w").close()
    print(len(os.listdir(place)), flush=True)
    time.sleep(0.2)
    os.unlink(f"{place}/{os.getpid()}")
    """
    (tmp_path / "running").mkdir()
    backend = backend_of(program(tmp_path, code), str(tmp_path / "running"), values={"slots": 2})
    answers = await asyncio.gather(
        *(backend.answer(make_request("default"), in_seconds(60)) for _ in range(6))
    )
    assert max(int(answer.text) for answer in answers) <= 2


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"run": ["x"], "output": "json"}, "does not say where"),
        ({"run": ["x"], "output": "jsonl", "text": ["result"]}, "no JSON pointer"),
        ({"run": ["x"], "folder": "/not/there"}, "is not there"),
    ],
)
def test_a_description_that_can_not_work(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make(Endpoint.model_validate({"backend": "command", "command": spec}))


@pytest.mark.parametrize(
    "values",
    [
        {"backend": "command", "url": "command://x"},
        {"backend": "command", "command": {"output": "text"}, "url": "command://x"},
        {"backend": "command", "command": {"run": ["x", "{prompt}"]}},
        {"backend": "command", "command": {"run": ["x"], "shell": True}},
        {"backend": "ollama", "url": "http://h", "command": {"run": ["x"]}},
    ],
)
def test_settings_that_contradict(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"command|prompt|program|shell"):
        Endpoint.model_validate(values)
