"""How fast boards are read, and with how much memory: a million checkbox lines as a stream, and boards read whole."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import accuracy
from bench.harness import Figure, at_least, say, told, under

_STREAM = """
import json, resource, sys, time
from sources import stream_file
from pathlib import Path
started = time.perf_counter()
items = done = 0
for item in stream_file(Path(sys.argv[1])):
    items += 1
    done += item.status == "done"
seconds = time.perf_counter() - started
unit = 1024 * 1024 if sys.platform == "darwin" else 1024
print(json.dumps([items, done, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit]))
"""
_WHOLE = _STREAM.replace(
    "stream_file(Path(sys.argv[1]))", "parse(open(sys.argv[1], 'rb').read(), 'x.md', None, 2**40).items"
)
_WHOLE = _WHOLE.replace("import stream_file", "import parse")


def run(quick: bool) -> list[Figure]:
    lines = 100_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        board = Path(folder) / "board.md"
        with board.open("w", encoding="utf-8") as stream:
            for number in range(lines):
                indent = "  " * (number % 4 % 3)
                mark = "x" if number % 3 else " "
                stream.write(f"{indent}- [{mark}] Task {number}: a line as long as boards have them\n")
        size = board.stat().st_size
        say(f"{lines:,} checkbox lines, {size / 1e6:.0f} MB")
        streamed = _measure(_STREAM, board)
        say("and 100,000 of them read whole")
        with board.open(encoding="utf-8") as stream:
            head = [next(stream) for _ in range(min(lines, 100_000))]
        board.write_text("".join(head), encoding="utf-8")
        whole = _measure(_WHOLE, board)
    assert (streamed[0], whole[0]) == (lines, len(head)), "lines were lost"
    figures = [
        told("board", size / 1e6, "MB"),
        at_least(f"stream of {lines:,} lines", streamed[0] / streamed[2], "lines/s", 100_000),
        under("stream, most memory of the process", streamed[3], "MB", 300),
        told("100,000 lines read whole, with findings", whole[0] / whole[2], "lines/s"),
        told("read whole, most memory of the process", whole[3], "MB"),
    ]
    return figures + accuracy.run(quick)


def _measure(program: str, board: Path) -> tuple[int, int, float, float]:
    made = subprocess.run(
        [sys.executable, "-c", program, str(board)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    items, done, seconds, memory = json.loads(made.stdout)
    return int(items), int(done), float(seconds), float(memory)
