"""What the documents tell a person to type is understood."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from interfaces.cli.reference import leaves, markdown, tree
from interfaces.http.errors import Refusal
from interfaces.http.signatures import bearer, verified

if TYPE_CHECKING:
    from .conftest import Document

ENDS = {"&&", "||", "|", ";", ">", ">>", "<"}
SECRET = SecretStr("a-secret-that-nobody-guesses")


def commands(block: str) -> list[list[str]]:
    """The `penstock ...` commands of a block as argument lists; lines that begin with `$ ` where it has such."""
    lines = block.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found: list[list[str]] = []
    for line in lines:
        words = shlex.split(line, comments=True)
        for start, word in enumerate(words):
            if word == "penstock" or word.endswith("/bin/penstock"):
                rest = words[start + 1 :]
                end = next((n for n, each in enumerate(rest) if each in ENDS), len(rest))
                found.append(rest[:end])
                break
    return found


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words name, as far as they name one, and the words after it."""
    command = tree()
    while below := getattr(command, "commands", None):
        # Of a group that means one of its commands when none is named.
        default = getattr(command, "default", None)
        if default and (not words or words[0] not in below):
            words = [default, *words]
        if not words or words[0].startswith("-"):
            break
        assert words[0] in below, f"penstock has no command {words[0]!r}"
        command, words = below[words[0]], words[1:]
    return command, words


def test_the_command_page_is_made_from_the_commands(documents: list[Document]) -> None:
    page = next(document for document in documents if document.name == "docs/cli.md")
    assert page.text == markdown(), "run: python -m interfaces.cli.reference > docs/cli.md"


def test_the_command_page_names_every_command_and_option() -> None:
    page = markdown()
    found = list(leaves(tree()))
    assert len(found) > 15
    for words, command in found:
        section = page.partition(f"## `{' '.join(words)}`\n")[2].partition("\n## ")[0]
        assert section.strip()
        for parameter in command.params:
            for option in [*parameter.opts, *parameter.secondary_opts]:
                name = option if option.startswith("-") else option.upper().rstrip("S")
                assert f"`{name}" in section


def test_commands_in_blocks_parse(documents: list[Document]) -> None:
    seen = 0
    for document in documents:
        for block in document.blocks("console", "bash", "cron"):
            for words in commands(block):
                command, rest = command_of(words)
                assert not getattr(command, "commands", None), (
                    f"{document.name}: penstock {words} is no command"
                )
                command.make_context("penstock", rest)
                seen += 1
    assert seen > 10


def test_commands_in_sentences_exist(documents: list[Document]) -> None:
    seen = 0
    for document in documents:
        for token in document.inline("code_inline"):
            words = token.content.replace("...", "").split()
            if words[:1] != ["penstock"]:
                continue
            command, rest = command_of(words[1:2] + [w for each in words[2:] for w in each.split("|")][:1])
            known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            if not getattr(command, "commands", None):
                rest = [word for word in words if word.startswith("-")]
            for word in rest:
                assert not word.startswith("-") or word in known, f"{document.name}: {token.content}"
            seen += 1
    assert seen > 10


def test_an_unknown_option_or_command_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        command_of(["run"])[0].make_context("run", ["--nope", "a.md"])
    with pytest.raises(AssertionError, match="no command 'fly'"):
        command_of(["fly"])
    assert commands("$ penstock up -d  # so\nDone.\n$ X=1 penstock run a.md > b") == [
        ["up", "-d"],
        ["run", "a.md"],
    ]


def test_bash_blocks_are_bash(documents: list[Document]) -> None:
    for document in documents:
        for block in document.blocks("bash"):
            checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, timeout=20)
            assert checked.returncode == 0, f"{document.name}: {checked.stderr}"


def requests(document: Document) -> list[tuple[str, dict[str, str], bytes]]:
    """What the curl examples would send, as (path, headers, body): their blocks are run, curl only tells."""
    found: list[tuple[str, dict[str, str], bytes]] = []
    for block in document.blocks("bash"):
        if "curl" not in block:
            continue
        script = f"set -eu\ncurl() {{ printf '%s\\0' \"$@\" END; }}\n{block}"
        environment = {"PATH": os.environ["PATH"], "DOOR": "http://door", "SECRET": SECRET.get_secret_value()}
        told = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, check=True, timeout=20
        )
        for call in told.stdout.decode().split("END\0")[:-1]:
            arguments = call.split("\0")
            headers = {
                name.lower(): value
                for flag, (name, _, value) in zip(
                    arguments, (each.partition(": ") for each in arguments[1:]), strict=False
                )
                if flag == "-H"
            }
            body = arguments[arguments.index("-d") + 1] if "-d" in arguments else ""
            url = next(each for each in arguments if each.startswith("http://door"))
            found.append((url.removeprefix("http://door"), headers, body.encode()))
    return found


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("openssl")), reason="needs bash and openssl")
def test_the_curl_examples_are_let_in(operations: Document) -> None:
    forms: set[str] = set()
    for path, headers, body in requests(operations):
        if path == "/webhooks/board":
            forms.add(verified(headers, body, SECRET, time.time())[0])
            with pytest.raises(Refusal):
                verified(headers, body + b" ", SECRET, time.time())
        else:
            bearer(headers, SECRET)
            assert re.match(r"/(boards|reviews)\b", path)
            assert not body or headers["content-type"] == "application/json"
    assert forms == {"github", "standard"}
