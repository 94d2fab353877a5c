"""Rows as bytes, chunk by chunk: nothing holds more than a few thousand of them."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from models.errors import InputError
from models.export import COLUMNS, ExportRow, Format
from models.words import counted
from sources import REPORT_MARK
from tasks.foreign import visible

if TYPE_CHECKING:
    import pyarrow

__all__ = ["chunks"]

ROWS = 2_000
"""Of one chunk; of Parquet one row group has PARQUET_ROWS."""

PARQUET_ROWS = 10_000


def chunks(found: Iterable[ExportRow], form: Format) -> Iterator[bytes]:
    """The rows in that format. Raises InputError where Parquet can't be written because pyarrow is not installed."""
    return _ENCODERS[form](iter(found))


def _jsonl(found: Iterator[ExportRow]) -> Iterator[bytes]:
    for some in _batches(found, ROWS):
        yield b"".join(orjson.dumps(row.as_json(), option=orjson.OPT_APPEND_NEWLINE) for row in some)


def _csv(found: Iterator[ExportRow]) -> Iterator[bytes]:
    yield _csv_lines([COLUMNS])
    for some in _batches(found, ROWS):
        yield _csv_lines([[_cell(value) for value in row.as_json().values()] for row in some])


def _csv_lines(lines: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes a cell for a formula by, and would compute, with access to other cells, files and addresses
(https://owasp.org/www-community/attacks/CSV_Injection)."""


def _cell(value: Any) -> Any:
    """Structured values as JSON, times as JSON has them; nothing where nothing is known. A text is never a formula."""
    if value is None:
        return value
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    text = orjson.dumps(value).decode()
    return text.strip('"') if not isinstance(value, list | dict) else text


def _markdown(found: Iterator[ExportRow]) -> Iterator[bytes]:
    """A section per row: an answer may have any text in it, so it is quoted."""
    yield f"{REPORT_MARK}\n# Export\n".encode()  # by its mark a run knows it for no documentation
    board = None
    for some in _batches(found, ROWS):
        lines: list[str] = []
        for row in some:
            if row.board != board:
                board = row.board
                lines += ["", f"## {_line(board)}"]
            name = f"{row.id} {row.title}" if row.id and row.id not in row.title else row.title
            lines += ["", f"### {_line(name)}", "", _facts(row)]
            if row.answer is not None:
                lines += ["", *(f"> {line}".rstrip() for line in visible(row.answer).splitlines())]
                lines += ["", *(f"- {_line(str(each.get('cite', '')))}" for each in row.citations or [])]
            elif row.review_reason:
                lines += ["", f"{row.error_type}: {_line(row.review_reason)}"]
        yield ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _facts(row: ExportRow) -> str:
    facts = [f"line {row.line}", f"declared {row.declared}", f"status {row.status}"]
    if row.model:
        facts.append(f"model {_line(row.model)}")
    if row.attempts:
        facts.append(counted(row.attempts, "try", "tries"))
    if row.review is not None:
        facts.append(f"review {row.review}")
    if row.simulated:
        facts.append("SIMULATED")
    return ", ".join(facts)


def _line(text: str) -> str:
    return " ".join(visible(text).split()).replace("<", "&lt;")


def _parquet(found: Iterator[ExportRow]) -> Iterator[bytes]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            "Parquet needs pyarrow, which is not installed: `pip install 'penstock[parquet]'`. --format jsonl, csv "
            "and md need nothing."
        ) from None
    schema = _schema(pyarrow)
    sink = _Sink()
    with pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for some in _batches(found, PARQUET_ROWS):
            values = [row.as_json() for row in some]
            for each in values:
                for name in ("data", "citations"):
                    each[name] = None if each[name] is None else orjson.dumps(each[name]).decode()
            writer.write_table(pyarrow.Table.from_pylist(values, schema=schema))
            yield sink.taken()
    yield sink.taken()


def _schema(pyarrow: Any) -> pyarrow.Schema:
    """Structured values are JSON text: their shape is another for each recipe."""
    kinds: Mapping[str, Any] = {
        "line": pyarrow.int32(),
        "item": pyarrow.int64(),
        "part_of": pyarrow.int64(),
        "accepted_at": pyarrow.timestamp("us", tz="UTC"),
        "simulated": pyarrow.bool_(),
        "attempts": pyarrow.int32(),
        "prompt_tokens": pyarrow.int64(),
        "completion_tokens": pyarrow.int64(),
        "cost": pyarrow.float64(),
        "review": pyarrow.int64(),
    }
    return pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])


class _Sink(io.RawIOBase):
    """Where a writer writes to, and chunks are taken from."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def taken(self) -> bytes:
        found = b"".join(self._parts)
        self._parts.clear()
        return found


def _batches(found: Iterator[ExportRow], size: int) -> Iterator[list[ExportRow]]:
    while some := list(itertools.islice(found, size)):
        yield some


_ENCODERS: Mapping[Format, Callable[[Iterator[ExportRow]], Iterator[bytes]]] = {
    Format.MD: _markdown,
    Format.JSONL: _jsonl,
    Format.CSV: _csv,
    Format.PARQUET: _parquet,
}
