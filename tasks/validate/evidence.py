"""What an answer names in its own text: does it exist among what was given? Only what the recipe's `verify` asks for.

Given is the item's own text, its passages (text and place) and whole files, where the caller has them. Here no model
and no disk is asked. What does not look like a path, an id or an address for certain is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from models.enums import ErrorType
from models.recipe import Evidence
from models.verdict import AnswerRow, Failure
from tasks.foreign import excerpt, one_line, visible
from tasks.validate.code import code_problem, fenced_blocks
from tasks.validate.grounding import comparable, stands_in, weight
from tasks.validate.patches import patch_problems

LAYER = "grounding"
MAX_FAILURES = 5
LONGEST = 200_000
"""Characters of an answer: a longer one is not searched, and so is no pass."""
SHORTEST_QUOTATION = 25
"""Characters: what stands between quotation marks and is shorter may be a name or a word spoken of."""

_EXTENSIONS = (
    "py|pyi|md|rst|txt|toml|ya?ml|json|jsonl|ini|cfg|conf|env|sh|bash|sql|js|jsx|ts|tsx|css|html?|xml|csv|tsv|go|rs|c|h"
    "|cc|cpp|hpp|java|kt|rb|php|cs|swift|lua|tf|proto|ipynb|lock|log|service|pdf|png|svg"
)
_PATH = re.compile(
    rf"(?<![\w/.:@%#?=&-])(?P<path>(?:\.{{0,2}}/)?(?:[\w.@+-]{{1,80}}/){{0,12}}[\w@+-][\w.@+-]{{0,80}}?\.(?:{_EXTENSIONS}))"
    r"(?::(?P<first>\d{1,7})(?:[-–](?P<last>\d{1,7}))?|#L(?P<from>\d{1,7})(?:-L(?P<to>\d{1,7}))?)?(?![\w/@]|[.:-]\w)",
)
_LIBRARY = re.compile(r"[A-Z]\w*\.js")  # Node.js, Vue.js: names of things
_URL = re.compile(r"\b(?:https?|ftp)://[^\s<>\"'`\\^{}|]+", re.IGNORECASE)
_ID = re.compile(r"(?<![\w/#.-])(?:(?P<prefix>[A-Z][A-Z0-9]{1,9})-\d+(?:\.\d+)*|#\d{1,7})(?![\w-]|\.\d)")
_CITE = re.compile(r"(?P<path>.+?):(?P<first>\d+)(?:-(?P<last>\d+))?\Z")
_QUOTATION = re.compile(r"«([^«»]+)»|„([^„“”]+)[“”]|“([^“”]+)”|\"([^\"\n]+)\"|「([^「」]+)」")
_BLOCKQUOTE = re.compile(r"^[ \t]*>[ \t]?(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Given:
    """What an answer may name, read once for each item."""

    row: AnswerRow

    @cached_property
    def text(self) -> str:
        passages = "\n".join(f"{passage.cite}\n{passage.text}" for passage in self.row.passages)
        files = "\n".join(f"{path}\n{text}" for path, text in self.row.files.items())
        return visible(f"{self.row.question}\n{passages}\n{files}")

    @cached_property
    def plain(self) -> str:
        return comparable(self.text)

    @cached_property
    def files(self) -> dict[str, list[tuple[int, int]]]:
        """Paths among what was given; the lines of each that were shown, empty where it was only named."""
        found: dict[str, list[tuple[int, int]]] = {}
        for path, text in self.row.files.items():
            found.setdefault(_path(path), []).append((1, text.count("\n") + 1))
        for passage in self.row.passages:
            if cite := _CITE.fullmatch(passage.cite):
                lines = (int(cite["first"]), int(cite["last"] or cite["first"]))
                found.setdefault(_path(cite["path"]), []).append(lines)
            else:
                found.setdefault(_path(passage.cite), [])
        for named in _PATH.finditer(self.text):
            found.setdefault(_path(named["path"]), [])
        return found

    @cached_property
    def urls(self) -> frozenset[str]:
        return frozenset(_url(found[0]) for found in _URL.finditer(self.text))

    @cached_property
    def ids(self) -> frozenset[str]:
        return frozenset(found[0] for found in _ID.finditer(self.text))

    @cached_property
    def prefixes(self) -> frozenset[str]:
        return frozenset(found["prefix"] for found in _ID.finditer(self.text) if found["prefix"])


def check_evidence(wanted: Sequence[Evidence], text: str, row: AnswerRow) -> list[Failure]:
    """`text` is the answer's own. At most MAX_FAILURES of each kind."""
    if not wanted:
        return []
    if len(text) > LONGEST:
        raise ValueError(
            f"an answer of {len(text)} characters is too long to be searched (at most {LONGEST})"
        )
    given = Given(row)
    failures: list[Failure] = []
    for kind in dict.fromkeys(wanted):
        check, find = _CHECKS[kind]
        problems = dict.fromkeys(find(text, given))
        failures += [
            Failure(LAYER, check, ErrorType.GROUNDING, problem) for problem in list(problems)[:MAX_FAILURES]
        ]
    return failures


def _path(text: str) -> str:
    return text.removeprefix("./").strip()


def _url(text: str) -> str:
    """Without what the sentence around it adds, and what makes no other page."""
    url = text.rstrip(".,;:!?*_'\"”»…")
    while url.endswith((")", "]")) and url.count(url[-1]) > url.count("(" if url[-1] == ")" else "["):
        url = url[:-1].rstrip(".,;:!?*_'\"”»")
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}{slash}{path}".rstrip("/")


def _without_addresses(text: str) -> str:
    return _URL.sub(" ", visible(text))


def _files(text: str, given: Given) -> list[str]:
    problems = []
    for named in _PATH.finditer(_without_addresses(text)):
        path = _path(named["path"])
        if _LIBRARY.fullmatch(path):
            continue
        shown = _shown(path, given.files)
        if shown is None:
            known = ", ".join(list(given.files)[:3]) or "none"
            problems.append(
                f"It names the file {excerpt(path)}, which it was not given (given: {known} ...)."
            )
            continue
        first = int(named["first"] or named["from"] or 0)
        last = int(named["last"] or named["to"] or first)
        if first and not _in_lines(first, last, shown) and named[0] not in given.text:
            lines = ", ".join(f"{start}-{end}" for start, end in shown[:5]) or "none of its lines"
            problems.append(
                f"It names {excerpt(named[0])}, of which it was not given that line (given: {lines})."
            )
    return problems


def _shown(path: str, files: Mapping[str, list[tuple[int, int]]]) -> list[tuple[int, int]] | None:
    """The lines shown of a file; a bare name, or the end of a path, is the file that ends so."""
    if path in files:
        return files[path]
    found = [lines for known, lines in files.items() if known.endswith("/" + path)]
    return [pair for lines in found for pair in lines] if found else None


def _in_lines(first: int, last: int, shown: Sequence[tuple[int, int]]) -> bool:
    return first <= last and any(start <= first and last <= end for start, end in shown)


def _urls(text: str, given: Given) -> list[str]:
    return [
        f"It gives the address {excerpt(found[0])}, which stands in nothing that it was given."
        for found in _URL.finditer(visible(text))
        if _url(found[0]) not in given.urls
    ]


def _ids(text: str, given: Given) -> list[str]:
    """`ABC-12` only where ids of that kind were given: UTF-8 and GPT-4 look like one, too. `#12` always."""
    return [
        f"It names {excerpt(found[0])}, which stands in nothing that it was given."
        for found in _ID.finditer(_without_addresses(text))
        if found[0] not in given.ids and (found["prefix"] is None or found["prefix"] in given.prefixes)
    ]


def _quotes(text: str, given: Given) -> list[str]:
    prose = visible(text)
    for block in fenced_blocks(text):
        prose = prose.replace(block.text, " ")
    said = [next(filter(None, found.groups()), "") for found in _QUOTATION.finditer(prose)]
    quoted = [one_line(part) for part in said] + [one_line(found[1]) for found in _BLOCKQUOTE.finditer(prose)]
    return [
        f"The quotation {excerpt(part)} stands in nothing that it was given."
        for part in quoted
        if weight(part) >= SHORTEST_QUOTATION and not _is_given(part, given)
    ]


def _is_given(part: str, given: Given) -> bool:
    words = comparable(part).rstrip(".,;:!? ")
    return not words or stands_in(words, given.plain)


def _code(text: str, given: Given) -> list[str]:
    problems = ((block, code_problem(block)) for block in fenced_blocks(text))
    return [
        f"The {block.language} block at line {block.line} can't be read: {problem}."
        for block, problem in problems
        if problem
    ]


def _patches(text: str, given: Given) -> list[str]:
    blocks = [block.text for block in fenced_blocks(text) if block.language in ("diff", "patch")]
    if not blocks and text.lstrip().startswith(("--- ", "diff --git ")):
        blocks = [text]
    if not blocks:
        return ["A patch was asked for, and the answer has no block `diff`."]
    return [problem for block in blocks for problem in patch_problems(block, given.row)]


_CHECKS: Mapping[Evidence, tuple[str, Callable[[str, Given], list[str]]]] = {
    Evidence.QUOTES: ("quotations", _quotes),
    Evidence.FILES: ("files", _files),
    Evidence.URLS: ("urls", _urls),
    Evidence.IDS: ("ids", _ids),
    Evidence.CODE: ("code", _code),
    Evidence.PATCHES: ("patches", _patches),
}
