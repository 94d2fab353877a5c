"""What can go wrong, by name, and which request it hits: the next of a script, or a share of all by the seed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping

from backends.simulator.packs import FAULTS as PACKS

ABOUT: Mapping[str, str] = {
    "error500": "status 500",
    "error503": "status 503 (529 of Anthropic) with Retry-After: 1",
    "rate_limited": "status 429 with Retry-After: 2 (RetryInfo of Gemini)",
    "out_of_memory": "status 500 that says so; with --restart-seconds the process dies and comes back",
    "hang": "no first token, ever; holds its slot until the client leaves",
    "stall": "half of the tokens, then silence until the client leaves",
    "broken": "half of the tokens, then an error inside the stream; status 500 where nothing is streamed",
    "cut": "half a body, or half of the tokens, then the connection is closed",
    "slow_load": "if the model has to be loaded, it takes ten times as long",
    "nonsense": "status 200 with HTML",
    "empty": "an answer without text",
    "echo": "the prompt as the answer",
    "echo_quoted": "the prompt in quotation marks",
    "echo_prefixed": "a polite phrase, then the prompt",
    "echo_partial": "the first half of the prompt",
    "echo_inside": "the prompt inside an answer that fits the schema",
    "other_language": "an answer that fits the schema in another language than the prompt",
    "no_json": "a sentence, where JSON was asked for",
    "refusal": "the protocol's way to say no",
    "blocked": "the prompt was blocked (Gemini's promptFeedback; elsewhere a refusal)",
    "no_image": "no image where one was due (Gemini's NO_IMAGE; elsewhere empty)",
    "truncated": "half an answer, ended by the token limit",
    "unfinished": "half an answer and no finish reason",
    "fenced": "the answer inside a Markdown fence",
    "think": "the answer behind a reasoning block",
    "wrong_model": "another model's name",
    "cut_prompt": "a tenth of the prompt was read, in silence",
    **PACKS,
}
FAULTS = tuple(ABOUT)

HALFWAY = frozenset({"stall", "broken", "cut"})
"""What happens after half of the tokens."""

GOOD = frozenset({"ok", "slow_load"})
"""Answers as they should be: who asks the same again after one wastes work."""


def known(names: Iterable[str]) -> None:
    """Raises ValueError for a name that is neither ok nor a fault's."""
    for name in names:
        if name != "ok" and name not in ABOUT:
            raise ValueError(f"{name!r} is neither ok nor one of {', '.join(FAULTS)}")


class Chooser:
    """Says what happens to a request."""

    def __init__(self, seed: int, script: Iterable[str], rates: Mapping[str, float]) -> None:
        self._seed = seed
        self.script: deque[str] = deque()
        self.rates: dict[str, float] = {}
        self.set(script=script, rates=rates)

    def set(self, *, script: Iterable[str] | None = None, rates: Mapping[str, float] | None = None) -> None:
        """Raises ValueError for an unknown fault."""
        script = None if script is None else list(script)
        known([*(script or ()), *(rates or ())])
        if script is not None:
            self.script = deque(script)
        if rates is not None:
            self.rates = dict(rates)

    def next(self, key: str, time: int) -> str:
        """For the prompt with this hash, asked for the `time`-th time."""
        if self.script:
            return self.script.popleft()
        if not self.rates:
            return "ok"
        # By prompt and not by order of arrival, so that a run with several clients can be repeated.
        lot = random.Random(f"{self._seed}/{key}/{time}").random()  # noqa: S311  a simulation
        for name, share in self.rates.items():
            lot -= share
            if lot < 0:
                return name
        return "ok"
