"""`python -m interfaces.cli.reference`: docs/cli.md, made from the commands themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from interfaces.cli import commands

HEAD = """\
# The command line

Made by `python -m interfaces.cli.reference > docs/cli.md`; a test keeps it true. Each command has `--help` too. What
the exit codes mean is in [running Penstock](operations.md#exit-codes).
"""


def tree() -> Any:
    """The whole command tree, as Typer builds it for the console script."""
    app = typer.Typer(add_completion=False)
    commands.register(app)
    return typer.main.get_command(app)


def leaves(command: Any, words: tuple[str, ...] = ("penstock",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that can be run, with the words that run it, in the order of `--help`."""
    below: dict[str, Any] = getattr(command, "commands", {})
    if not below:
        yield words, command
    for name, inner in below.items():
        yield from leaves(inner, (*words, name))


def markdown() -> str:
    """The page."""
    return HEAD + "".join(_section(words, command) for words, command in leaves(tree()))


def _section(words: tuple[str, ...], command: Any) -> str:
    rows = [_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    table = "".join(["\n| | default | meaning |\n| --- | --- | --- |\n", *rows]) if rows else ""
    return f"\n## `{' '.join(words)}`\n\n{_paragraphs(command.help)}\n{table}"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"{parameter.name.upper().rstrip('S')}{'...' if parameter.nargs == -1 else ''}"
    else:
        name = "`, `".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.required:
        default = "required"
    elif isinstance(parameter.default, bool):
        default = f"`{parameter.opts[0]}`" if parameter.default else ""
    else:
        default = "" if parameter.default is None else f"`{parameter.default}`"
    meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"| `{name}` | {default} | {meaning} |\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
