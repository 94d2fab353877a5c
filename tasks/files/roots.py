"""Where files of a board may be read, and how: nothing above the root is ever opened."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from tasks.places import repository_of

MOST_BYTES = 262_144
"""Of one file; a larger one is data."""

_SECRET = re.compile(
    r"\.?env(?:rc)?(?:\..+)?|.+\.env|.+\.(?:pem|key|p12|pfx|jks|keystore|kdbx|ovpn|gpg|asc|ppk|tfvars|tfstate)(?:\..*)?"
    r"|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?(?:\..*)?|[._](?:netrc|pgpass|htpasswd|npmrc|pypirc|git-credentials)"
    r"|(?:credentials?|secrets?|passwords?|service[-_]?account.*|kubeconfig)(?:\.(?:json|ya?ml|toml|ini|txt|cfg|conf|xml))?",
    re.IGNORECASE,
)
_SAMPLE = re.compile(r".*\.(?:example|sample|template|dist)", re.IGNORECASE)
_SECRET_FOLDERS = frozenset({"secrets", "credentials", "private", ".ssh", ".aws", ".gnupg", ".kube", ".git"})


def root_of(source: str, home: Path) -> Path | None:
    """The folder whose files a board's items may be given: its repository, else its own folder. None: no folder.

    `source`: the board's. `home`: PENSTOCK_HOME, where uploads lie; its files are no project's. Nor are those of
    a user's home folder or of one above it, although it may be a repository (of dot files).
    """
    if not os.path.isabs(source):
        return None
    folder = Path(os.path.realpath(os.path.dirname(source)))
    if not folder.is_dir() or folder.is_relative_to(os.path.realpath(home)):
        return None
    return next(
        (each for each in (repository_of(folder), folder) if each is not None and _may_be(each)), None
    )


def _may_be(root: Path) -> bool:
    user = Path(os.path.realpath(os.path.expanduser("~")))
    return not user.is_relative_to(root) and root != Path(root.anchor)


def is_secret(path: str) -> bool:
    """Does a file of that name hold secrets, as is known of it? Samples of such files do not."""
    *folders, name = path.split("/")
    if any(folder.lower() in _SECRET_FOLDERS for folder in folders):
        return True
    return _SECRET.fullmatch(name) is not None and _SAMPLE.fullmatch(name) is None


def read_within(root: Path, path: str, most: int = MOST_BYTES) -> tuple[bytes, os.stat_result] | None:
    """The bytes of a file below `root`, by its relative path. None for all that is no regular file of `most` bytes.

    Each folder on the way is opened from the one before, and none of them may be a link: whatever is renamed meanwhile,
    nothing outside is read. A pipe or a device is not waited for.
    """
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") or "\0" in part for part in parts):
        return None
    opened: list[int] = []
    try:
        opened.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for part in parts[:-1]:
            how = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            opened.append(os.open(part, how, dir_fd=opened[-1]))
        how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        opened.append(os.open(parts[-1], how, dir_fd=opened[-1]))
        found = os.fstat(opened[-1])
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            return None
        pieces, left = [], most + 1
        while left > 0 and (piece := os.read(opened[-1], left)):
            pieces.append(piece)
            left -= len(piece)
        data = b"".join(pieces)
        return (data, found) if len(data) <= most else None
    except OSError:
        return None  # gone, a link, or not to be read: it is not given
    finally:
        for each in opened:
            os.close(each)
