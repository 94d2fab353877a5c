"""The secrets that Penstock makes for itself: random, one file per PENSTOCK_HOME, readable by its user alone."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from models.errors import OrchestratorError
from models.settings import Settings

__all__ = ["PREFECT_USER", "Secrets", "load_secrets", "prepare_home"]

PREFECT_USER = "penstock"
FILE = "secrets.json"


def _random() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(32))


class Secrets(BaseModel):
    """`webhook_secret` signs deliveries and is the bearer token of the door's other doors."""

    model_config = ConfigDict(extra="forbid")
    prefect_password: SecretStr = Field(default_factory=_random, min_length=16)
    webhook_secret: SecretStr = Field(default_factory=_random, min_length=16)

    @property
    def prefect_auth(self) -> str:
        """Basic auth of the Prefect server as `user:password`. Not for logs."""
        return f"{PREFECT_USER}:{self.prefect_password.get_secret_value()}"


def load_secrets(settings: Settings) -> Secrets:
    """The secrets of this PENSTOCK_HOME, made at the first call. Safe when several processes are first at once.

    A `webhook_secret` in the settings wins over the file's. Raises OrchestratorError.
    """
    path = settings.home / FILE
    try:
        prepare_home(settings)
        if not path.exists():
            _make(path)
        path.chmod(0o600)
        found = Secrets.model_validate_json(path.read_bytes())
    except ValidationError:
        raise OrchestratorError(
            f"{path} does not hold Penstock's secrets: it is damaged or from another version. "
            "Move it away; new ones are made at the next start (webhook senders then need the new secret)."
        ) from None
    except OSError as error:
        raise OrchestratorError(
            f"{path} can't be used ({error.strerror}). Make PENSTOCK_HOME writable for this user."
        ) from None
    if settings.webhook_secret is not None:
        return found.model_copy(update={"webhook_secret": settings.webhook_secret})
    return found


def prepare_home(settings: Settings) -> None:
    """Make PENSTOCK_HOME and its folders. Raises OSError.

    Root's home stays open for walking through: the embedded Postgres runs as a user that root lends it.
    """
    if not settings.home.exists():
        settings.home.mkdir(parents=True, exist_ok=True)
        settings.home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    for name in ("run", "logs", "prefect", "inbox"):
        (settings.home / name).mkdir(mode=0o700, exist_ok=True)


def _make(path: Path) -> None:
    fresh = Secrets()
    content = {name: value.get_secret_value() for name, value in fresh}
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE}.")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)  # fails when another process was first: then its secrets are the secrets
    except FileExistsError:
        return
    finally:
        os.unlink(name)
