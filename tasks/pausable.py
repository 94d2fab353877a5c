"""What people mean when they name what is to be paused or resumed: names as the table `pause` has them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import psycopg

from models.endpoint import PROVIDER_URLS
from models.errors import InputError
from models.pause import Pause, PauseKind
from models.plugins import backend_names
from models.settings import DEFAULT_URLS, Settings
from sql.statements import statement
from tasks.items import matching
from tasks.recipes import load_recipes

Connection = psycopg.Connection[Any]

NEAR = 3  # names that are offered for an unknown one
LISTED = 8


def to_pause(connection: Connection, settings: Settings, kind: PauseKind, words: Sequence[str]) -> list[str]:
    """The names that these words mean. Raises InputError, with what is near, for one that nothing has.

    A board is named as everywhere (tasks.items.matching), and may be several; an endpoint by its URL, or its backend
    and URL; a recipe alone, or `recipe model` for one model.
    """
    if kind is PauseKind.BOARD:
        places = dict(connection.execute(statement("items.board_places")).fetchall())
        return [places[board] for board in matching(connection, words) or []]
    found: list[str] = []
    for word in words:
        if kind is PauseKind.ENDPOINT:
            found += _of_endpoint(word, _resources(connection, settings))
        elif kind is PauseKind.MODEL:
            found.append(_known(kind, word, _models(connection, settings)))
        elif kind in (PauseKind.RECIPE, PauseKind.PACKING):
            recipe, _, model = word.strip().partition(" ")
            _known(PauseKind.RECIPE, recipe, load_recipes(settings))
            known = _known(PauseKind.MODEL, model.strip(), _models(connection, settings)) if model else ""
            found.append(f"{recipe} {known}".strip())
        else:
            names = backend_names() if kind is PauseKind.BACKEND else [each.name for each in settings.devices]
            found.append(_known(kind, word, names))
    return list(dict.fromkeys(found))


def to_resume(
    connection: Connection, pauses: Iterable[Pause], kind: PauseKind, words: Sequence[str]
) -> list[str]:
    """The names of what is paused that these words mean. Raises InputError for one that nothing paused has."""
    there = [each.name for each in pauses if each.kind is kind]
    found: list[str] = []
    for word in words:
        meant = [word] if word in there else []
        if not meant and kind is PauseKind.ENDPOINT:
            meant = [name for name in there if _is(name, word)]
        if not meant and kind is PauseKind.BOARD:
            meant = [name for name in _boards(connection, word) if name in there]
        if not meant:
            raise InputError(
                _not_there(f"No {kind} {word!r} is paused", there, word, "Nothing of that kind is.")
            )
        found += meant
    return list(dict.fromkeys(found))


def _boards(connection: Connection, word: str) -> list[str]:
    """Boards that a word means; none where no board is like it, for one may have been forgotten since."""
    places = dict(connection.execute(statement("items.board_places")).fetchall())
    try:
        return [places[board] for board in matching(connection, [word]) or []]
    except InputError:
        return []


def _known(kind: PauseKind, word: str, known: Collection[str]) -> str:
    if word in known:
        return word
    raise InputError(_not_there(f"There is no {kind} {word!r}", known, word, f"No {kind} is known yet."))


def _not_there(says: str, known: Collection[str], word: str, none: str) -> str:
    near = difflib.get_close_matches(word, known, NEAR) or [
        each for each in sorted(known) if word.casefold() in each.casefold()
    ]
    if near:
        return f"{says}; did you mean {' or '.join(near[:NEAR])}? Nothing was changed."
    if not known:
        return f"{says}. {none} Nothing was changed."
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return f"{says}. There are {', '.join(sorted(known)[:LISTED])}{more}. Nothing was changed."


def _of_endpoint(word: str, resources: Collection[str]) -> list[str]:
    found = [each for each in resources if _is(each, word)]
    if not found:
        says = f"There is no endpoint {word!r}"
        raise InputError(
            _not_there(says, {each.partition(" ")[2] for each in resources}, word, "None is declared.")
        )
    return found


def _is(resource: str, word: str) -> bool:
    """Does a word name this endpoint: by its URL, or by backend and URL?"""
    return word.strip().rstrip("/") in (resource, resource.partition(" ")[2])


def _resources(connection: Connection, settings: Settings) -> list[str]:
    """Endpoints that are declared, that drains worked on, and where `auto` looks."""
    usual = [
        f"{backend} {url.rstrip('/')}" for backend, url in (*DEFAULT_URLS.items(), *PROVIDER_URLS.items())
    ]
    seen = [row[0] for row in connection.execute(statement("pause.known_resources"))]
    return list(dict.fromkeys([*(each.resource for each in settings.endpoints), *seen, *usual]))


def _models(connection: Connection, settings: Settings) -> set[str]:
    declared = {name for each in settings.endpoints for name in (each.model, *each.models) if name}
    for each in load_recipes(settings).values():
        declared |= {
            *filter(None, [each.header.model]),
            *each.header.models,
            *each.header.ladder,
        }
    return declared | {row[0] for row in connection.execute(statement("pause.known_models"))}
