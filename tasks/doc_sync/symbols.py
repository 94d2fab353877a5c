"""What a source file offers by name: functions, classes, constants, options, variables, keys, endpoints.

Python is read with `ast`; other languages by patterns that only see definition lines (tasks/doc_sync/plain.py).
A file that does not parse makes no claim about what it lost.
"""

from __future__ import annotations

import ast
import configparser
import hashlib
import re
import warnings
from collections.abc import Iterator
from pathlib import PurePosixPath

import yaml

from tasks.doc_sync import plain
from tasks.doc_sync.plain import ENDPOINT, OPTION, Symbol

__all__ = ["Symbol", "module_name", "symbols"]

_SKIPPED = re.compile(
    r"(^|/)(tests?|testdata|fixtures|node_modules|vendor|third_party|dist|build)/|(^|/)(test_[^/]*|conftest)\.py$"
    r"|\.min\.|\.lock$|-lock\.|(^|/)\."
)
_ENVIRONMENT_CALLS = frozenset({"getenv", "environ.get", "environ.pop", "environ.setdefault"})
_ROUTES = frozenset(
    {"get", "post", "put", "patch", "delete", "head", "options", "route", "websocket", "api_route"}
    | {"add_api_route", "add_url_rule", "add_route"}
)
_COMMANDS = frozenset({"command", "callback"})


def symbols(path: str, data: bytes) -> dict[tuple[str, str], Symbol] | None:
    """What a file offers, by (kind, name); None for what does not parse.

    Tests, vendored and generated files offer nothing.
    """
    if _SKIPPED.search(path) or b"\0" in data[:8000]:
        return {}
    source = data.decode("utf-8", "replace")
    read = _python(source) if PurePosixPath(path).suffix in {".py", ".pyi"} else plain.symbols(path, source)
    offered: dict[tuple[str, str], Symbol] = {}
    try:
        for symbol in read:
            offered.setdefault((symbol.kind, symbol.name), symbol)
    except (SyntaxError, ValueError, configparser.Error, yaml.YAMLError, RecursionError, MemoryError):
        return None  # foreign code in some other version of its language, or half of a merge
    return offered


def module_name(path: str) -> str | None:
    """The dotted name that Python code is imported by; None for what is no module. `src/` is not part of it."""
    if not path.endswith(".py"):
        return None
    parts = path.removesuffix(".py").split("/")
    if parts[0] in {"src", "lib"} and len(parts) > 1:
        parts = parts[1:]
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) if parts and all(part.isidentifier() for part in parts) else None


def _python(source: str) -> Iterator[Symbol]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of the code that is read, not of ours
        tree = ast.parse(source)
    yield from _definitions(tree.body, "")
    yield from _uses(tree)


def _definitions(body: list[ast.stmt], prefix: str, *, settings: bool = False) -> Iterator[Symbol]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not (node.name.startswith("__") and node.name.endswith("__")):
                yield _function(node, prefix, node.name)
            elif node.name == "__init__" and prefix:
                yield _function(node, "", prefix.rstrip("."), kind="class_call")
        elif isinstance(node, ast.ClassDef):
            bases = tuple(ast.unparse(base) for base in node.bases if ast.unparse(base) != "object")
            name = prefix + node.name
            yield Symbol("class", name, node.lineno, body=_digest(node, node.name), bases=bases)
            is_settings = any(base.rsplit(".", 1)[-1].endswith("Settings") for base in bases)
            yield from _definitions(node.body, name + ".", settings=is_settings)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and (
                    settings or (target.id.isupper() and len(target.id) > 1)
                ):
                    kind = "setting" if settings else "constant"
                    yield Symbol(kind, prefix + target.id, node.lineno, body=_value(node.value))
        elif isinstance(node, ast.If | ast.Try):
            for branch in ("body", "orelse", "finalbody"):
                yield from _definitions(getattr(node, branch, []), prefix, settings=settings)


def _function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, prefix: str, name: str, *, kind: str = "function"
) -> Symbol:
    arguments = node.args
    static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in node.decorator_list)
    bare = ast.arguments(
        posonlyargs=[ast.arg(arg.arg) for arg in arguments.posonlyargs],
        args=[ast.arg(arg.arg) for arg in arguments.args],
        vararg=ast.arg(arguments.vararg.arg) if arguments.vararg else None,
        kwonlyargs=[ast.arg(arg.arg) for arg in arguments.kwonlyargs],
        kw_defaults=arguments.kw_defaults,
        kwarg=ast.arg(arguments.kwarg.arg) if arguments.kwarg else None,
        defaults=arguments.defaults,
    )
    if (prefix or kind == "class_call") and not static:
        first = bare.posonlyargs or bare.args
        if first and len(bare.defaults) < len(bare.posonlyargs) + len(bare.args):
            del first[0]
    return Symbol(
        kind, prefix + name, node.lineno, signature=f"({ast.unparse(bare)})", body=_digest(node, node.name)
    )


def _digest(node: ast.AST, name: str) -> str:
    """What a definition does, its own name left out: equal digests mean that only the name changed."""
    shape = ast.dump(node, include_attributes=False)
    shape = re.sub(rf"(?<=['\"]){re.escape(name)}(?=['\"])", "", shape)
    return hashlib.sha256(shape.encode("utf-8", "replace")).hexdigest()


def _value(node: ast.expr | None) -> str:
    """A constant's value; empty where it is too ordinary (True, 0, "") to say that two names mean the same."""
    if node is None:
        return ""
    shape = ast.dump(node, include_attributes=False)
    return hashlib.sha256(shape.encode("utf-8", "replace")).hexdigest() if len(ast.unparse(node)) > 3 else ""


def _uses(tree: ast.Module) -> Iterator[Symbol]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _call(node)
        elif isinstance(node, ast.Subscript):
            if ast.unparse(node.value).split(".")[-1] == "environ" and (name := _string(node.slice)):
                yield Symbol("environment", name, node.lineno)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _implied_options(node)


def _call(node: ast.Call) -> Iterator[Symbol]:
    called = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
    # With its help text the rest of the call says what an option means; without, two options may look the same.
    told = any(keyword.arg == "help" for keyword in node.keywords)
    meaning = "".join(ast.dump(keyword) for keyword in node.keywords) if told else ""
    for argument in node.args:
        for option in (_string(argument) or "").split("/"):
            if OPTION.fullmatch(option):
                yield Symbol("option", option, node.lineno, body=meaning)
    first = _string(node.args[0]) if node.args else None
    if first and any(called == name or called.endswith("." + name) for name in _ENVIRONMENT_CALLS):
        yield Symbol("environment", first, node.lineno)
    elif first and "." in called and called.rsplit(".", 1)[-1] in _ROUTES and ENDPOINT.fullmatch(first):
        yield Symbol("endpoint", first, node.lineno)


def _implied_options(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Symbol]:
    """Typer makes an option of every parameter of a command that has a default."""
    marks = [mark.func if isinstance(mark, ast.Call) else mark for mark in node.decorator_list]
    if not any(isinstance(mark, ast.Attribute) and mark.attr in _COMMANDS for mark in marks):
        return
    arguments = node.args.args[-len(node.args.defaults) :] if node.args.defaults else []
    for argument in [*arguments, *node.args.kwonlyargs]:
        option = "--" + argument.arg.replace("_", "-")
        if OPTION.fullmatch(option):
            yield Symbol("option", option, argument.lineno)


def _string(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
