"""How work comes in: paths to bytes, bytes to a parsed tree and its findings."""

from sources.dialects import parse
from sources.folder import REPORT_MARK
from sources.origins import STDIN, Origin, expand, read
from sources.reading import DEFAULT_MAX_BYTES, decode
from sources.streaming import stream_file

__all__ = [
    "DEFAULT_MAX_BYTES",
    "REPORT_MARK",
    "STDIN",
    "Origin",
    "decode",
    "expand",
    "parse",
    "read",
    "stream_file",
]
