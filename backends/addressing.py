"""Where requests go and what they carry: checked once, when a backend is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from models.endpoint import Endpoint
from models.errors import SettingsError

SHORTEST_SECRET = 8
"""Striking out shorter ones would strike words."""


def checked_url(endpoint: Endpoint) -> str:
    """The endpoint's URL without a trailing slash. Raises SettingsError on one that can't be used or holds
    secrets.
    """
    try:
        parts = urlsplit(endpoint.url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(
            f"{endpoint.url!r} is no URL of an {endpoint.backend} server; write for example "
            f"http://127.0.0.1:8000/v1."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError(
            f"The URL of the {endpoint.backend} endpoint at {parts.hostname} holds a password, query or "
            f"fragment. "
            "Write the bare URL, and the key as api_key."
        )
    return endpoint.url.rstrip("/")


def headers_of(endpoint: Endpoint, key_header: str, given: Mapping[str, str]) -> httpx.Headers:
    """What every request carries: the key in its header, the protocol's own, and over them those of the settings.

    Raises SettingsError for a header that can't be one, without showing its value.
    """
    found = httpx.Headers(
        {
            "User-Agent": "penstock",
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            **given,
        }
    )
    key_header = endpoint.key_header or key_header
    if key_header and (key := endpoint.key()):
        found[key_header] = f"Bearer {key}" if key_header.lower() == "authorization" else key
    for name, secret in endpoint.headers.items():
        value = secret.get_secret_value()
        if not (name and name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
            raise SettingsError(
                f"{name!r} under headers of {endpoint.url} is no name of a header. Correct it."
            )
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            raise SettingsError(
                f"The header {name} of {endpoint.url} has line breaks, blanks at an end or non-ASCII characters. "
                "Copy its value again without them."
            )
        found[name] = value
    return found


def secrets_of(endpoint: Endpoint) -> tuple[bytes, ...]:
    """What must never be shown: the key, and the values of headers, but for those too short to be a secret."""
    values = [endpoint.key(), *(value.get_secret_value() for value in endpoint.headers.values())]
    return tuple(value.encode() for value in values if len(value) >= SHORTEST_SECRET)


def encoded(payload: Any) -> bytes:
    try:
        return orjson.dumps(payload)
    except TypeError:  # lone surrogates from undecodable input
        return json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
