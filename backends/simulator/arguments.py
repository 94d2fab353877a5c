"""The command line of the simulator, for `penstock simulate` and `python -m backends.simulator`."""

from __future__ import annotations

import argparse
import math
import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from backends.simulator.faults import ABOUT, known
from backends.simulator.options import FLAVOURS, Options, PerModel

ABOUT_IT = """\
A simulated model server for tests and benchmarks. It speaks Ollama's, OpenAI's, Anthropic's and Gemini's protocols
over one machine with slots, models that must be loaded, memory, speed and faults, and counts what it saw. Its
answers are no model's: each reply carries the header x-penstock-simulator. When it is ready it prints one line of
JSON with its URL, and serves until it is interrupted.

A NUMBER below is one for all models, or NAME=NUMBER,NAME=NUMBER,*=NUMBER for each."""

ENDING = """\
flavours:
  any answers in all protocols at once, by path. The others answer as that server does and nothing else:
  ollama     loads as asked, blocks meanwhile, cuts long prompts in silence, names end in :latest
  llama      llama-server: 503 while it starts, one model for any name, /props, /slots, /metrics
  vllm       refuses connections while it starts, /health, /metrics, /sleep, /wake_up, /is_sleeping
  mlx        mlx_lm.server: HTTP/1.0, keepalive comments, lists no models, no schema, no limit of the prompt
  openai, anthropic, gemini   the providers, with their batches

faults (one of them for a request, by --script or --rates):
{faults}

time of a request:
  wait for a slot + load + latency + (prompt - cached) / prefill + answer / decode
  of n busy requests each is read at  prefill / (1 + prefill_crowding * (n - 1))  tokens a second,
  and written at  decode / (1 + decode_crowding * (n - 1)).

the judge:
  GET  /simulator/stats    what it counted: in flight (now, most), running, waits (max, p50, p95), loads,
                           switches, evictions of busy models, tokens (in, out, cached, wasted), outcomes;
                           in all, by model, and by caller (header x-caller, or the protocol's user field)
  POST /simulator/faults   {{"script": [...]}} or {{"rates": {{...}}}}
  POST /simulator/models   {{"models": [...]}}: from now on it has these, perhaps none
  POST /simulator/reset    {{}}: begin anew
  POST /simulator/die      {{}}: with --restart-seconds, die and come back"""


WIDEST = 110


class _Format(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size((WIDEST, 24)).columns
        super().__init__(prog, max_help_position=30, width=min(columns, WIDEST))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Prose as it fits; in lists line by line, and what is too long goes on below what it says."""
        parts = []
        for paragraph in text.split("\n\n"):
            lines = paragraph.splitlines()
            prose = not any(line.startswith(" ") for line in lines)
            parts.append(
                textwrap.fill(" ".join(lines), width)
                if prose
                else "\n".join(_wrapped(line, width) for line in lines)
            )
        return "\n\n".join(parts)


def _wrapped(line: str, width: int) -> str:
    hang = re.match(r" *", line)
    assert hang is not None
    about = re.match(r" *\S+(?: +\S+)?? {2,}", line)  # a name, and what it means
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * len((about or hang).group()),
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )


def parser() -> argparse.ArgumentParser:
    faults = "\n".join(f"  {name:<14} {about}" for name, about in ABOUT.items())
    made = argparse.ArgumentParser(
        prog="penstock simulate",
        description=ABOUT_IT,
        epilog=ENDING.format(faults=faults),
        formatter_class=_Format,
    )
    default = Options()
    server = made.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on")
    server.add_argument("--port", type=int, default=0, metavar="N", help="0 takes a free one")
    server.add_argument("--flavour", choices=FLAVOURS, default=default.flavour, help="as below")
    server.add_argument("--api-key", default="", metavar="KEY", help="asked for; without it none is")
    server.add_argument(
        "--start-seconds",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="until its model is loaded at the start",
    )
    server.add_argument(
        "--restart-seconds",
        type=_seconds,
        metavar="S",
        help="out_of_memory kills the process; it is back after so long, and refuses connections meanwhile",
    )
    server.add_argument(
        "--until-stdin-closes", action="store_true", help="end when standard input ends, as tests need it"
    )
    server.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)

    machine = made.add_argument_group("machine")
    machine.add_argument(
        "--slots", type=_least(1), default=default.slots, metavar="N", help="requests that run at once"
    )
    machine.add_argument(
        "--max-queue", type=_least(0), default=0, metavar="N", help="waiting requests before 503; 0: no bound"
    )
    machine.add_argument(
        "--load-queue",
        type=_least(0),
        default=0,
        metavar="N",
        help="requests that wait for a load before 503, as Ollama counts; 0: no bound",
    )
    machine.add_argument(
        "--memory", type=_seconds, default=0.0, metavar="GIB", help="for all loaded models; 0: no bound"
    )
    machine.add_argument(
        "--resident", type=_least(0), default=1, metavar="N", help="models loaded at once; 0: no bound"
    )
    machine.add_argument("--latency", type=_seconds, default=0.0, metavar="S", help="added to each answer")
    for phase, crowding in (("prefill", default.prefill_crowding), ("decode", default.decode_crowding)):
        machine.add_argument(
            f"--{phase}-crowding",
            type=_seconds,
            default=crowding,
            metavar="X",
            help=f"0: requests don't slow each other down, 1: they share one speed; {crowding} if not given",
        )

    models = made.add_argument_group("models")
    models.add_argument(
        "--models",
        type=_names,
        default=default.models,
        metavar="NAMES",
        help=f"separated by commas ({','.join(default.models)}); those with embed in the name embed",
    )
    models.add_argument(
        "--model-memory", type=_per_model, default=1.0, metavar="NUMBER", help="GiB of a model"
    )
    models.add_argument(
        "--context-memory", type=_seconds, default=0.0, metavar="GIB", help="for 1,024 tokens of context"
    )
    models.add_argument("--load-seconds", type=_per_model, default=0.0, metavar="NUMBER", help="of one load")
    models.add_argument(
        "--prefill-per-second",
        type=_per_model,
        default=0.0,
        metavar="NUMBER",
        help="prompt tokens; 0: no time",
    )
    models.add_argument(
        "--tokens-per-second",
        type=_per_model,
        default=0.0,
        metavar="NUMBER",
        help="tokens of one answer; 0: no time",
    )
    models.add_argument(
        "--context",
        type=_least(1),
        default=default.context,
        metavar="N",
        help="tokens, where the request does not say",
    )
    models.add_argument(
        "--cache-tokens",
        type=_least(0),
        default=default.cache_tokens,
        metavar="N",
        help="of prompts whose beginning is remembered, for each loaded model; 0: none",
    )
    models.add_argument(
        "--keep-alive",
        type=float,
        default=default.keep_alive,
        metavar="S",
        help="until an idle model is unloaded; negative: never",
    )
    models.add_argument(
        "--answer-tokens", type=_range, default=(0, 0), metavar="N or N-M", help="least length of an answer"
    )
    models.add_argument(
        "--dimensions", type=_least(1), default=default.dimensions, metavar="N", help="of an embedding"
    )
    models.add_argument(
        "--batch-seconds", type=_seconds, default=0.0, metavar="S", help="until a provider batch is done"
    )

    chance = made.add_argument_group("faults")
    chance.add_argument(
        "--seed", type=int, default=0, metavar="N", help="decides which prompts the rates hit"
    )
    chance.add_argument(
        "--rates", type=_rates, default={}, metavar="FAULT=SHARE,...", help="shares of all requests, up to 1"
    )
    chance.add_argument(
        "--script", type=_script, default=(), metavar="FAULT,...", help="ok or a fault for each, then ok"
    )
    return made


def options_of(given: argparse.Namespace) -> Options:
    return Options(**{name: getattr(given, name) for name in Options.__dataclass_fields__})


def plain(arguments: Sequence[str]) -> list[str]:
    """The arguments that a supervised process gets: those that are not the supervisor's."""
    return [argument for argument in arguments if argument != "--until-stdin-closes"]


# --- values -------------------------------------------------------------------------------------------------


def _least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return integer


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return value


def _per_model(text: str) -> PerModel:
    if "=" not in text:
        return _seconds(text)
    # The name may have an "=" of its own, the number has none.
    return {name: _seconds(number) for name, _, number in (p.rpartition("=") for p in text.split(",") if p)}


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.replace(",", "-").partition("-")
    low, high = int(least), int(most or least)
    if not 0 <= low <= high:
        raise argparse.ArgumentTypeError(f"{text} is no range such as 50 or 50-200")
    return low, high


def _rates(text: str) -> dict[str, float]:
    rates: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, share = part.partition("=")
        _check([name])
        if not 0 <= float(share) <= 1:
            raise argparse.ArgumentTypeError(f"{part!r}: a share is from 0 to 1")
        rates[name] = float(share)
    return rates


def _script(text: str) -> tuple[str, ...]:
    script = tuple(filter(None, text.split(",")))
    _check(script)
    return script


def _check(names: Sequence[Any]) -> None:
    try:
        known(names)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
