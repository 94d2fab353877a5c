"""A file that is there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from models.errors import InputError


def written(path: Path, parts: Iterable[bytes], *, force: bool = False) -> int:
    """Write it beside and move it there; gives its size in bytes.

    Raises InputError where something is there already and not `force`, and where it can't be written. What was there
    before stays as it was until the new one is complete.
    """
    if not force and path.exists():
        raise InputError(f"{path} is there already. --force replaces it.")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with beside.open("xb") as file:
                size = sum(file.write(part) for part in parts)
                file.flush()
                os.fsync(file.fileno())
            if force:
                beside.replace(path)
            else:
                os.link(beside, path)  # fails where another has made it meanwhile
            return size
        finally:
            beside.unlink(missing_ok=True)
    except FileExistsError:
        raise InputError(f"{path} is there already. --force replaces it.") from None
    except OSError as error:
        raise InputError(
            f"{path} can't be written: {error.strerror}. Name another file with --out."
        ) from error
