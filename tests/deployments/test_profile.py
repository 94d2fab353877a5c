"""The user's Prefect profiles: one is added, none is lost."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.profile import NAME, profiles_path, write_profile
from models.errors import SettingsError

VARIABLES = {"PREFECT_API_URL": "http://127.0.0.1:4280/api", "PREFECT_API_AUTH_STRING": 'penstock:a"b\\c'}

EPHEMERAL = (
    'active = "ephemeral"\n\n[profiles.ephemeral]\nPREFECT_SERVER_ALLOW_EPHEMERAL_MODE = "true"\n\n'
    "[profiles.local]\n# You will need to set these values appropriately for your local development environment\n"
    '# PREFECT_API_URL = "http://127.0.0.1:4200/api"\n'
)
CLOUD = 'active = "work"\n\n[profiles.work]\nPREFECT_API_URL = "https://api.prefect.cloud/x"  # mine\n'


def test_a_new_file_is_active_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "profiles.toml"
    written = write_profile(path, VARIABLES)
    assert written.changed
    assert written.active
    assert path.stat().st_mode & 0o777 == 0o600
    assert tomllib.loads(path.read_text()) == {"active": NAME, "profiles": {NAME: VARIABLES}}
    assert not write_profile(path, VARIABLES).changed


def test_an_untouched_default_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(EPHEMERAL)
    assert write_profile(path, VARIABLES).active
    assert '# PREFECT_API_URL = "http://127.0.0.1:4200/api"' in path.read_text()
    assert set(tomllib.loads(path.read_text())["profiles"]) == {"ephemeral", "local", NAME}


@pytest.mark.parametrize(
    "text", [CLOUD, EPHEMERAL.replace('"true"\n', '"true"\nPREFECT_LOGGING_LEVEL = "DEBUG"\n')]
)
def test_a_profile_that_was_set_up_stays_active(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(text)
    assert not write_profile(path, VARIABLES).active
    assert path.read_text().startswith(text.rstrip("\n"))
    first = path.read_text()
    write_profile(path, {**VARIABLES, "PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert path.read_text() == first.replace(":4280", ":9")


def test_our_block_in_the_middle_is_replaced_alone(tmp_path: Path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(
        'active = "penstock"\n[profiles.penstock]\nPREFECT_API_URL = "old"\n\n[profiles.b]\nX = "1"\n'
    )
    assert write_profile(path, VARIABLES).active
    assert tomllib.loads(path.read_text())["profiles"] == {"b": {"X": "1"}, NAME: VARIABLES}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text(CLOUD)
    path = tmp_path / "profiles.toml"
    path.symlink_to("real.toml")
    write_profile(path, VARIABLES)
    assert path.is_symlink()
    assert NAME in (tmp_path / "real.toml").read_text()


@pytest.mark.parametrize("text", ["active = \n", 'profiles = {penstock = {A = "1"}, work = {A = "2"}}\n'])
def test_a_file_that_can_not_be_added_to_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(text)
    with pytest.raises(SettingsError):
        write_profile(path, VARIABLES)
    assert path.read_text() == text


names = st.text("abcXYZ09-_", min_size=1, max_size=8)
values = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)


@given(
    profiles=st.dictionaries(
        names.filter(lambda name: name != NAME), st.dictionaries(names, values, max_size=3)
    ),
    active=st.none() | names,
)
def test_others_are_never_changed(
    tmp_path_factory: pytest.TempPathFactory, profiles: dict[str, dict[str, str]], active: str | None
) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = [] if active is None else [f"active = {quoted(active)}"]
    for name, content in profiles.items():
        lines += [
            f"[profiles.{quoted(name)}]  # a note",
            *(f"{k} = {quoted(v)}" for k, v in content.items()),
            "",
        ]
    path = tmp_path_factory.mktemp("profiles") / "profiles.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    written = write_profile(path, VARIABLES)
    after = tomllib.loads(path.read_text(encoding="utf-8"))
    assert after["profiles"].pop(NAME) == VARIABLES
    assert after["profiles"] == profiles
    assert written.active or after["active"] == active


def test_where_a_plain_shell_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profiles_path({}) == tmp_path / ".prefect" / "profiles.toml"
    assert profiles_path({"PREFECT_HOME": "/x"}) == Path("/x/profiles.toml")
    assert profiles_path({"PREFECT_HOME": "/x", "PREFECT_PROFILES_PATH": "~/p.toml"}) == tmp_path / "p.toml"
