"""Great Expectations, in one thread of its own.

Two threads that share a batch definition get each other's rows without any error (upstream issue 12209), and the
import takes seconds. So all of it lives in one thread, with one ephemeral context, that is started by `warm_up`
or by the first use. Sends nothing, draws no progress bars.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from models.recipe import Check

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

EXIT_SECONDS = 10.0
"""How long a process's end waits for the work in hand: an import that is cut off may crash."""

_Work = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]

ROW = "row"
"""The index column: the row's position, 0-based. Unique by construction, which ids of bad input are not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one expectation said. `rows`: positions of the failing rows; None: it speaks of the table as a whole."""

    check: Check
    success: bool
    rows: tuple[int, ...] | None = ()
    crash: str = ""  # why it could not run

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "expectation": self.check.expect,
            "with": self.check.with_,
            "says": self.check.says,
            "success": self.success,
        }
        if self.rows:
            shown["unexpected"] = len(self.rows)
        if self.crash:
            shown["crash"] = self.crash
        return shown


@dataclass(slots=True)
class Engine:
    """The thread and what lives in it. `close` ends it; a later use starts a new one.

    A daemon, which a process's end does not wait for longer than EXIT_SECONDS: a check that never ends must not keep
    a process for ever, as a thread of concurrent.futures would.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _queue: SimpleQueue[_Work | None] = field(default_factory=SimpleQueue)
    _thread: threading.Thread | None = None
    _since: float | None = None  # when the work in hand began
    _own: threading.local = field(default_factory=threading.local)

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._thread is None:
                _import_quietly()
                self._start()
            self._queue.put((future, work, arguments))
        return future

    def _start(self) -> None:
        self._since = None
        self._thread = threading.Thread(target=self._serve, args=(self._queue,), name="validate", daemon=True)
        self._thread.start()

    def _serve(self, queue: SimpleQueue[_Work | None]) -> None:
        me = threading.current_thread()
        while (task := queue.get()) is not None:
            future, work, arguments = task
            with self._lock:
                if self._thread is me:
                    self._since = time.monotonic()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work(*arguments))
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                    future.set_exception(error)
            del task, future, work, arguments  # they hold a batch's answers
            with self._lock:
                if self._thread is not me:
                    return
                self._since = None

    def relieve(self, seconds: float) -> None:
        """Let another thread go on with what is queued where the work in hand has taken `seconds`: it may never end.

        The new one has a context of its own; what the old one finds, if ever, goes to nobody.
        """
        with self._lock:
            if self._since is not None and time.monotonic() - self._since >= 0.9 * seconds:
                self._start()

    def warm_up(self) -> None:
        """Begin the import in the thread and return at once. What goes wrong shows at the first use."""
        self.submit(self._load)

    def run(self, key: str, checks: Sequence[Check], frame: pd.DataFrame) -> list[Outcome]:
        """Run the checks over the frame (which has the column ROW), in the thread only. `key` names the checks:
        suites are kept by it. One outcome per check, in their order.
        """
        if not checks:
            return []
        return self._load().run(key, checks, frame)

    def _load(self) -> _Loaded:
        loaded: _Loaded | None = getattr(self._own, "loaded", None)
        if loaded is None:
            loaded = self._own.loaded = _Loaded()
        return loaded

    def close(self, seconds: float | None = None) -> None:
        """End the thread after the work in hand, for which this waits (at most `seconds`); cancel what is queued."""
        with self._lock:
            thread, self._thread, self._since = self._thread, None, None
            queue, self._queue = self._queue, SimpleQueue()
        with contextlib.suppress(Empty):
            while (task := queue.get_nowait()) is not None:
                task[0].cancel()
        queue.put(None)
        if thread is not None:
            thread.join(seconds)


def _import_quietly() -> None:
    """Import the deprecated modules that Great Expectations imports, where their warnings can be held back.

    Warning filters belong to the whole process: changing them from the thread during a long import would
    change them for everybody. Here it is the caller's thread, for a millisecond.
    """
    with warnings.catch_warnings(), contextlib.suppress(ImportError):  # a later Python may have dropped them
        warnings.simplefilter("ignore", DeprecationWarning)
        import sre_constants  # noqa: F401
        import sre_parse  # noqa: F401


class _Loaded:
    """Great Expectations' context, and the suites made so far."""

    def __init__(self) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig
        from great_expectations.expectations.registry import get_expectation_impl

        # What pandas says of a pattern with groups, which is right as it is.
        warnings.filterwarnings("ignore", message="This pattern is interpreted as a regular expression")
        self._gx: Any = gx
        self._implementation: Callable[[str], Any] = get_expectation_impl
        context: Any = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        asset = context.data_sources.add_pandas("penstock").add_dataframe_asset("rows")
        self._batches: Any = asset.add_batch_definition_whole_dataframe("all")
        self._suites: dict[str, _Suite] = {}
        # 400,000 objects that stay: without them each full garbage collection takes 5 ms instead of 300, which is
        # a fifth of a drain's CPU (docs/benchmarks.md).
        gc.freeze()
        # A batch makes thousands of objects that live until it is written. To look through them at each 700 new ones,
        # as is the default, is a fifteenth of a drain's CPU.
        gc.set_threshold(10_000, 20, 50)

    def run(self, key: str, checks: Sequence[Check], frame: pd.DataFrame) -> list[Outcome]:
        suite = self._suites.get(key)
        if suite is None or suite.checks != list(checks):
            if len(self._suites) >= MAX_SUITES:
                self._suites.clear()
            suite = self._suites[key] = self._make(checks)
        crashed = dict(suite.unusable)
        failing: list[int] = []
        if suite.expectations:
            batch = self._batches.get_batch({"dataframe": frame})
            # Success alone costs half; rows are asked for where there is something to ask.
            for index, result in self._validate(batch, suite.all, "BOOLEAN_ONLY"):
                if crash := _crash(result.exception_info):
                    crashed[index] = crash
                elif not result.success:
                    failing.append(index)
            rows: dict[int, tuple[int, ...] | None] = {}
            if failing:
                some = self._suite([suite.expectations[index] for index in failing])
                for index, result in self._validate(batch, some, ROWS):
                    if crash := _crash(result.exception_info):
                        crashed[index] = crash
                    else:
                        rows[index] = _rows(result.result)
        return [
            Outcome(check, False, None, crashed[index])
            if index in crashed
            else Outcome(check, False, rows.get(index))
            if index in failing
            else Outcome(check, True)
            for index, check in enumerate(checks)
        ]

    def _make(self, checks: Sequence[Check]) -> _Suite:
        suite = _Suite(list(checks))
        for index, check in enumerate(checks):
            try:
                suite.expectations[index] = self._implementation(check.expect)(
                    **check.with_, meta={"check": index}
                )
            except Exception as error:  # noqa: BLE001 - whatever the library raises, the check can't run
                suite.unusable[index] = _one_line(error)
        suite.all = self._suite(list(suite.expectations.values()))
        return suite

    def _suite(self, expectations: Sequence[Any]) -> Any:
        return self._gx.ExpectationSuite(name="checks", expectations=list(expectations))

    def _validate(self, batch: Any, suite: Any, result_format: Any) -> list[tuple[int, Any]]:
        results = batch.validate(suite, result_format=result_format).results
        asked = {expectation.meta["check"] for expectation in suite.expectations}
        by_index = {result.expectation_config.meta["check"]: result for result in results}
        if by_index.keys() != asked or len(results) != len(asked):
            raise RuntimeError(
                f"Great Expectations gave {len(results)} results for {len(asked)} expectations"
            )
        return list(by_index.items())


@dataclass(slots=True)
class _Suite:
    checks: list[Check]
    all: Any = None  # the library's suite of all that can be used
    expectations: dict[int, Any] = field(default_factory=dict)  # the same, by the check's index
    unusable: dict[int, str] = field(default_factory=dict)


MAX_SUITES = 64
ROWS = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": [ROW],
    "include_unexpected_rows": False,
    "return_unexpected_index_query": False,
}


def _crash(info: Any) -> str:
    """Why an expectation could not run; empty where it ran. The flag is nested per metric in some cases."""
    entries = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        raised = entry["raised_exception"] if isinstance(entry, Mapping) else entry.raised_exception
        if raised:
            said = entry["exception_message"] if isinstance(entry, Mapping) else entry.exception_message
            return _one_line(said) or "it raised an error without words"
    return ""


def _rows(result: Mapping[str, Any]) -> tuple[int, ...] | None:
    listed = result.get("unexpected_index_list")
    # numpy integers are no JSON and no SQL parameters.
    return tuple(sorted({int(entry[ROW]) for entry in listed})) if listed else None


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]


ENGINE = Engine()
atexit.register(ENGINE.close, EXIT_SECONDS)
"""The process's one engine: more than one would bring the import's cost and nothing else."""
