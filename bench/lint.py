"""How long `penstock lint` takes on a folder of 1,000 mixed files."""

from __future__ import annotations

import json
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import Figure, told, under
from sources.folder import is_source

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
FILES = 1000
SHORTEST, LONGEST = 10, 100
_DIGITS = re.compile(r"(?<=[\w-])\d+")
_MARK = re.compile(r"\[[ xX]\]")


def run(quick: bool) -> list[Figure]:
    command = [str(Path(sys.executable).with_name("penstock")), "lint"]
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = make(folder, FILES)
        for _ in range(2 if quick else 5):
            started = time.perf_counter()
            done = subprocess.run([*command, str(folder)], capture_output=True, text=True)
            seconds.append(time.perf_counter() - started)
            assert done.returncode == 1, done.stderr
        summary = json.loads(
            subprocess.run([*command, "--json", str(folder)], capture_output=True, text=True).stdout
        )["summary"]
        one = folder / "one.md"
        one.write_text("- [ ] Grease the pump\n")
        hook, busy = [], []
        for _ in range(5 if quick else 20):
            started, used = time.perf_counter(), _processor_seconds()
            subprocess.run([*command, str(one)], check=True, stdout=subprocess.DEVNULL)
            hook.append(time.perf_counter() - started)
            busy.append(_processor_seconds() - used)
    return [
        under(f"penstock lint, {FILES:,} mixed files, median", statistics.median(seconds), "s", 10),
        told("of these, lines", lines, "lines"),
        told("of these, findings", summary["findings"], "findings"),
        told("of these, dialects", len(summary["dialects"]), "dialects"),
        under("penstock lint, one file, processor time, median", statistics.median(busy), "s", 0.5),
        told("penstock lint, one file, fastest", min(hook), "s"),
    ]


def _processor_seconds() -> float:
    """Of the processes that ended; other work of the machine hardly changes it, as it does the time that passes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make(folder: Path, files: int, seed: int = 7) -> int:
    """Write that many boards and documents of all dialects, in some folders; gives back their lines.

    Each is a part of a file of tests/corpus, with some marks, numbers and indents changed.
    """
    rng = random.Random(seed)
    samples = sorted(path for path in CORPUS.rglob("*") if is_source(path.name))
    total = 0
    for number in range(files):
        sample = samples[number % len(samples)]
        place = folder / f"team-{number % 17}" / f"{number // len(samples)}" / sample.relative_to(CORPUS)
        data = sample.read_bytes()
        try:
            text = data.decode()
        except UnicodeDecodeError:
            pass  # other encodings stay as they are
        else:
            data = data if sample.suffix == ".json" else varied(text, rng).encode()
        total += data.count(b"\n")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return total


def varied(text: str, rng: random.Random) -> str:
    """Other lines, marks and numbers; at least SHORTEST and at most LONGEST lines, its head kept."""
    lines = text.splitlines()
    length = rng.randint(SHORTEST, LONGEST)
    while len(lines) < length:
        lines += lines[len(lines) // 3 :] or ["- [ ] Grease the pump"]
    lines = lines[:length]
    for index in range(3, len(lines)):
        chance = rng.random()
        if chance < 0.1:
            lines[index] = _MARK.sub(lambda _: rng.choice(("[ ]", "[x]", "[~]", "[?]")), lines[index])
        elif chance < 0.2:
            lines[index] = _DIGITS.sub(lambda _: str(rng.randint(1, 99)), lines[index])
        elif chance < 0.23:
            lines[index] = "  " + lines[index]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    # `python -m bench.lint FOLDER` only makes the files, to look at them or to profile.
    sys.stdout.write(f"{make(Path(sys.argv[1]), FILES):,} lines\n")
