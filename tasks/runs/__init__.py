"""Runs: begun, paused, cancelled, taken up again, and asked again from a stage. The owner of the table `run`.

    running --pause---> paused       --resume--> running       running --its process died--> interrupted
            --cancel--> cancelled                              running --> settled, waiting, failed

A run is a wish to have boards worked on. When it is paused or cancelled its boards rest: no drain begins anything of
them. A board that another run which is under way has goes on for that one; otherwise the latest word counts, so a new
run of a board that rests wakes it.
"""

from tasks.runs.control import (
    Stopped,
    begin,
    finish,
    interrupt,
    note,
    stopped_here,
    want,
    wished,
)
from tasks.runs.hearing import heard, words
from tasks.runs.listing import held_runs, one, run_rows

__all__ = [
    "Stopped",
    "begin",
    "finish",
    "heard",
    "held_runs",
    "interrupt",
    "note",
    "one",
    "run_rows",
    "stopped_here",
    "want",
    "wished",
    "words",
]
