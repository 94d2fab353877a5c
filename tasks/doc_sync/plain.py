"""Definitions in languages other than Python, by conservative patterns; keys of TOML, YAML and INI files."""

from __future__ import annotations

import configparser
import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

OPTION = re.compile(r"--[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
ENDPOINT = re.compile(r"/[\w{}<>:.-]+(?:/[\w{}<>:.-]+)*/?")

_MAX_KEYS = 2000
_MAX_KEY_FILE = 128 * 1024  # characters; the YAML reader takes a second for as much


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name that a file offers.

    kind: function, class, class_call (a class as it is called), constant, setting, option, environment, endpoint.
    name: qualified within the file ("Store.load"). signature: "(path, limit=10)", annotations left out.
    body: a digest of what is meant with the name left out; equal digests mean a rename, "" means unknown.
    """

    kind: str
    name: str
    line: int
    signature: str = ""
    body: str = ""
    bases: tuple[str, ...] = ()


_NAME = r"(?P<name>[A-Za-z_]\w*)"
_PARAMETERS = r"\s*(?:<[^>()]*>)?\s*(?P<parameters>\([^()]*\))"
_SCRIPT = (
    ("function", rf"^(?:export\s+)?(?:default\s+)?(?:async\s+)?function\s*\*?\s*{_NAME}{_PARAMETERS}"),
    ("class", rf"^(?:export\s+)?(?:default\s+)?(?:abstract\s+)?(?:class|interface|enum)\s+{_NAME}"),
    ("constant", r"^(?:export\s+)?const\s+(?P<name>[A-Z][A-Z0-9_]+)\s*[:=]"),
)
_JVM = (
    ("class", rf"^\s*(?:(?:public|internal|data|sealed|abstract|final|static)\s+)*"
              rf"(?:class|interface|enum|record|struct)\s+{_NAME}"),
    ("function", rf"^\s*(?:(?:public|internal|suspend)\s+)*fun\s+{_NAME}{_PARAMETERS}"),
    ("constant", r"^\s*(?:public\s+)?(?:static\s+final|const\s+val)\s+(?:\w+\s+)?(?P<name>[A-Z][A-Z0-9_]+)\s*[:=]"),
)  # fmt: skip
_C = (
    ("constant", r"^\s*#\s*define\s+(?P<name>[A-Z][A-Z0-9_]+)\b"),
    ("class", rf"^(?:typedef\s+)?(?:struct|class|enum|union)\s+{_NAME}\s*[{{:]"),
)
_PATTERNS: dict[str, tuple[tuple[str, str], ...]] = {
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx"), _SCRIPT),
    **dict.fromkeys((".java", ".kt", ".cs", ".scala"), _JVM),
    **dict.fromkeys((".c", ".h", ".cc", ".cpp", ".hpp"), _C),
    ".go": (
        ("function", rf"^func\s+(?:\([^()]*\)\s*)?{_NAME}{_PARAMETERS}"),
        ("class", rf"^type\s+{_NAME}\s+(?:struct|interface)\b"),
    ),
    ".rs": (
        ("function", rf"^\s*pub(?:\([^()]*\))?\s+(?:(?:async|const|unsafe)\s+)*fn\s+{_NAME}{_PARAMETERS}"),
        ("class", rf"^\s*pub(?:\([^()]*\))?\s+(?:struct|enum|trait|type)\s+{_NAME}"),
        ("constant", rf"^\s*pub(?:\([^()]*\))?\s+(?:const|static)\s+{_NAME}"),
    ),
    ".rb": (
        ("function", rf"^\s*def\s+(?:self\.)?{_NAME}(?P<parameters>\([^()]*\))?"),
        ("class", rf"^\s*(?:class|module)\s+{_NAME}"),
    ),
    ".php": (
        ("function", rf"^\s*(?:(?:public|static|final)\s+)*function\s+{_NAME}{_PARAMETERS}"),
        ("class", rf"^\s*(?:(?:abstract|final)\s+)*(?:class|interface|trait)\s+{_NAME}"),
    ),
    **dict.fromkeys(
        (".sh", ".bash"), (("function", r"^\s*(?:function\s+)?(?P<name>[A-Za-z_][\w-]*)\s*\(\)\s*\{?"),)
    ),
    ".sql": (
        ("function", rf"(?i)^create\s+(?:or\s+replace\s+)?function\s+{_NAME}{_PARAMETERS}"),
        ("class", rf"(?i)^create\s+(?:table|view)\s+(?:if\s+not\s+exists\s+)?{_NAME}"),
    ),
}
_COMPILED = {
    suffix: [(kind, re.compile(pattern)) for kind, pattern in patterns]
    for suffix, patterns in _PATTERNS.items()
}
_OPTION_USE = re.compile(
    rf"""["'`](?P<name>{OPTION.pattern})["'`]|^\s*(?:\|?\s*)(?P<case>{OPTION.pattern})\)"""
)
_ENVIRONMENT_USE = re.compile(
    r"""(?:process\.env\.|(?:getenv|Getenv|LookupEnv|env::var|env::var_os)\(\s*["']|ENV(?:\.fetch\(|\[)\s*["']"""
    r"""|process\.env\[["']|\$\{(?=\w+:[-?=])|^ENV\s+)(?P<name>[A-Z][A-Z0-9_]{2,})"""
)
_ENDPOINT_USE = re.compile(
    r"""\b(?:app|router|server|r|mux|e)\.(?:get|post|put|patch|delete|route|Get|Post|Put|Patch|Delete|GET|POST|PUT"""
    rf"""|PATCH|DELETE|Handle|HandleFunc)\(\s*["'`](?P<name>{ENDPOINT.pattern})["'`]"""
)


def symbols(path: str, source: str) -> Iterator[Symbol]:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in _COMPILED:
        yield from _defined(source, _COMPILED[suffix])
        yield from _used(source)
    elif PurePosixPath(path).name.startswith("Dockerfile"):
        yield from _used(source)
    elif suffix in {".toml", ".yaml", ".yml", ".ini", ".cfg"}:
        yield from _keys(suffix, source)


def _defined(source: str, patterns: list[tuple[str, re.Pattern[str]]]) -> Iterator[Symbol]:
    lines = source.split("\n")
    starts: list[tuple[int, str, re.Match[str]]] = []
    for number, line in enumerate(lines):
        if len(line) > 1000:  # minified
            continue
        for kind, pattern in patterns:
            if found := pattern.match(line):
                starts.append((number, kind, found))
                break
    for (number, kind, found), following in zip(starts, [*starts[1:], None], strict=True):
        end = following[0] if following else len(lines)
        name = found["name"]
        block = "\n".join(lines[number:end]).rstrip()
        blanked = re.sub(rf"\b{re.escape(name)}\b", "", block)
        parameters = found.groupdict().get("parameters") or ""
        yield Symbol(
            kind,
            name,
            number + 1,
            signature=" ".join(parameters.split()),
            # a definition of one line says too little to prove that another name means the same
            body=hashlib.sha256(blanked.encode()).hexdigest() if "\n" in block else "",
        )


def _used(source: str) -> Iterator[Symbol]:
    for number, line in enumerate(source.split("\n"), 1):
        if len(line) > 1000:
            continue
        for kind, pattern in (
            ("option", _OPTION_USE),
            ("environment", _ENVIRONMENT_USE),
            ("endpoint", _ENDPOINT_USE),
        ):
            for found in pattern.finditer(line):
                yield Symbol(kind, next(group for group in found.groups() if group), number)


def _keys(suffix: str, source: str) -> Iterator[Symbol]:
    if len(source) > _MAX_KEY_FILE:
        raise ValueError("too large for a settings file")
    if suffix == ".toml":
        data: Any = tomllib.loads(source)
    elif suffix in {".ini", ".cfg"}:
        parser = configparser.RawConfigParser(strict=False)
        parser.read_string(source)
        data = {section: dict(parser[section]) for section in parser.sections()}
    else:
        data = yaml.load(source, Loader=_NoAliases)  # noqa: S506 - a SafeLoader
    for count, name in enumerate(_flat(data, "")):
        if count >= _MAX_KEYS:
            return
        leaf = re.search(rf"(?m)^\s*[\"']?{re.escape(name.rsplit('.', 1)[-1])}[\"']?\s*[=:]", source)
        yield Symbol("setting", name, source.count("\n", 0, leaf.end()) + 1 if leaf else 1)


class _NoAliases(yaml.SafeLoader):
    """Without aliases a small file can't unfold into a huge one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def _flat(data: Any, prefix: str) -> Iterator[str]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            if isinstance(key, str) and re.fullmatch(r"[\w-]+", key):
                yield prefix + key
                yield from _flat(value, f"{prefix}{key}.")
