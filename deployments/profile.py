"""A Prefect profile `penstock`, so that `prefect deployment run 'pipeline/local'` works from a plain shell.

It is written into the user's own profiles file (PREFECT_PROFILES_PATH, else $PREFECT_HOME or ~/.prefect). The file is
edited as text: other profiles, comments and their order stay byte for byte, which Prefect's own writer would not keep.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import SettingsError

__all__ = ["NAME", "Written", "profiles_path", "write_profile"]

NAME = "penstock"
UNTOUCHED = {
    "ephemeral": {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true"},
    "local": {},  # the profile that Prefect makes with an address only as a comment
    "default": {},
}
"""Profiles as Prefect itself makes them: nobody set them up, so another one may become active in their place."""

_HEADER = re.compile(r"^\s*\[")
_OURS = re.compile(rf"^\s*\[\s*profiles\s*\.\s*[\"']?{NAME}[\"']?\s*\]\s*(#.*)?$")
_ACTIVE = re.compile(r"^\s*active\s*=.*$")


@dataclass(frozen=True)
class Written:
    path: Path
    changed: bool
    active: bool
    """Whether a plain shell uses the profile; if not, `prefect profile use penstock` makes it so."""


def profiles_path(environ: Mapping[str, str] | None = None) -> Path:
    """Where a plain shell's Prefect reads its profiles."""
    given = os.environ if environ is None else environ
    if path := given.get("PREFECT_PROFILES_PATH"):
        return Path(path).expanduser()
    return Path(given.get("PREFECT_HOME") or "~/.prefect").expanduser() / "profiles.toml"


def write_profile(path: Path, variables: Mapping[str, str]) -> Written:
    """Write the profile with these settings; make it active when no other one was set up. Never touches others.

    Raises SettingsError when the file can't be read as TOML or written.
    """
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        parsed = tomllib.loads(before)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"Prefect's profiles file {path} can't be read ({error}). Correct it or move it away; until then use "
            f"PREFECT_API_URL and PREFECT_API_AUTH_STRING."
        ) from None
    takes = _free(parsed)
    lines = _without_ours(before.splitlines())
    if takes and parsed.get("active") != NAME:
        lines = [f'active = "{NAME}"', *_without_active(lines)]
    block = [f"[profiles.{NAME}]", *(f"{key} = {json.dumps(value)}" for key, value in variables.items())]
    text = "\n".join([*_stripped(lines), "", *block]).lstrip("\n") + "\n"
    try:
        after = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        after = {}
    if not after or _others(after) != _others(parsed):
        raise SettingsError(
            f"Prefect's profiles file {path} is written in a way that Penstock can't add to. Add the profile yourself: "
            f"`prefect profile create {NAME}`."
        )
    changed = after != parsed or (path.stat().st_mode & 0o077) != 0
    if changed:
        _replace(path, text)
    return Written(path, changed, after.get("active") == NAME)


def _free(parsed: Mapping[str, Any]) -> bool:
    active = parsed.get("active")
    if active is None or active == NAME:
        return True
    content = parsed.get("profiles", {}).get(active)
    return content is None or (active in UNTOUCHED and content == UNTOUCHED[active])


def _others(parsed: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in parsed.items() if key not in ("active", "profiles")}
    return rest | {
        "profiles": {name: value for name, value in parsed.get("profiles", {}).items() if name != NAME}
    }


def _without_ours(lines: list[str]) -> list[str]:
    kept: list[str] = []
    ours = False
    for line in lines:
        if _HEADER.match(line):
            ours = _OURS.match(line) is not None
        if not ours:
            kept.append(line)
    return kept


def _without_active(lines: list[str]) -> list[str]:
    first_table = next((number for number, line in enumerate(lines) if _HEADER.match(line)), len(lines))
    top = [line for line in lines[:first_table] if not _ACTIVE.match(line)]
    return top + lines[first_table:]


def _stripped(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = path.resolve()  # people keep such files in a repository of their own and link to them
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:  # 0600: it holds the password
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except OSError as error:
        raise SettingsError(
            f"Prefect's profiles file {path} can't be written ({error.strerror}). Make it writable, or set "
            "PREFECT_PROFILES_PATH."
        ) from None
