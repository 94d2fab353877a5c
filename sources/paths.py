"""The files that a board names, by relative path. Pure: whether they are there is looked up elsewhere.

Few false alarms matter more than every mention. So two kinds are taken:

- links, `[text](docs/plan.md)` and pictures, wherever they stand: whoever reads the board may follow them;
- paths in backticks in the line of an item that is done, if they have a folder and an extension (`src/app/queue.py`):
  what is done is there. Not when the line says that something was removed, renamed or moved; and not in open items,
  which may be about to make the file.

Not taken: URLs, globs, placeholders (`<name>.md`, `XXX.md`, `path/to/file.md`), absolute paths, folders, and what
stands in code, comments and quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

from models.board import ParsedBoard
from models.enums import Declared
from sources.document import read_document

_LINK = re.compile(
    r"\]\([^\S\n]{0,8}(?:<(?P<angled>[^<>\n]{1,400})>|(?P<plain>[^\s()<>]{1,400}(?:\([^\s()<>]{0,100}\)[^\s()<>]{0,100})?))"
    r"(?:[^\S\n]{1,8}(?:\"[^\"\n]{0,300}\"|'[^'\n]{0,300}'))?[^\S\n]{0,8}\)"
)
_CODE = re.compile(r"(?<!`)(`{1,2})(?!`)([^`\n]{1,300})(?<!`)\1(?!`)")
_PATH = re.compile(
    r"(?:\.{1,2}/){0,8}\.?[\w@+-][\w.@+-]{0,80}(?:/[\w.@+-]{1,80}){1,16}|(?:\.{1,2}/){1,8}[\w.@+-]{1,80}"
)
_PLACE = re.compile(r":\d{1,7}(?:[:-]\d{1,7})?$")  # src/app.py:12
_EXTENSION = re.compile(r"[^/.][^/]*\.(?=[A-Za-z0-9]{0,9}[A-Za-z])[A-Za-z0-9]{1,10}$")
_NO_PATH = re.compile(
    r"[a-z][a-z0-9+.-]*:|//|[~#\\]|www\.|[\w-]{1,60}(?:\.[\w-]{1,60}){0,3}"
    r"\.(?:com|org|net|io|dev|app|ai|edu|gov|ru|de|fr|uk|cn|jp|br|pl|ua)(?:/|$)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"[*?<>{}|$\"…]|\.\.\.|X{3}|N{3}|YYYY|(?:^|/)path/to/", re.IGNORECASE | re.ASCII)
_MADE = re.compile(
    r"(?:\./)?(?:build|dist|node_modules|target|out|tmp|temp|coverage|\.venv|venv|__pycache__)/"
)
_GONE = re.compile(
    r"\b(?:delet|remov|drop|renam|mov(?:e|ed|ing)\b|archiv|replac|merg|split|instead of|no longer|"
    r"удал|убра|убир|перенес|перенос|перемест|переимен|замен|выпил|вынес|архив|разбит|вместо|"
    r"видал|прибра|перенес|перейменув|замін|"
    r"lösch|gelöscht|entfern|umbenen|umbenannt|verschieb|verschoben|ersetz|"
    r"supprim|retir|renomm|déplac|remplac|elimin|borra|quita|mueve|mover|movid|renombr|reemplaz|"
    r"apag|exclu|substitu|rimoss|rimuov|spostat|rinomin|sostitu|usun|przenie|zmieni|silin|kaldır|taşın)"
    r"|删除|移除|重命名|迁移|替换|移动到|削除|移動|リネーム|置き換え|삭제|제거|이동",
    re.IGNORECASE,
)


class Mention(NamedTuple):
    line: int
    path: str  # relative, or from the root with a "/" before it
    link: bool  # else a path in backticks


def mentions(board: ParsedBoard) -> Iterator[Mention]:
    """What a board names, in the order of its lines."""
    if "](" not in board.text and "`" not in board.text:
        return
    done = {item.line for item in board.items if item.status is Declared.DONE}
    for number, line in enumerate(read_document(board.text).live, 1):
        if "](" in line:
            for match in _LINK.finditer(_CODE.sub("``", line) if "`" in line else line):
                if path := _relative(match["angled"] or match["plain"]):
                    yield Mention(number, path, True)
        if number in done and "`" in line and not _GONE.search(line):
            for match in _CODE.finditer(line):
                text = _PLACE.sub("", match[2].strip())
                if _PATH.fullmatch(text) and not _MADE.match(text) and (path := _relative(text)):
                    yield Mention(number, path, False)


def _relative(target: str) -> str | None:
    """The path of a link's target, None where it is no relative path of a file."""
    if _NO_PATH.match(target):
        return None
    path = unquote(re.split(r"[#?]", target, maxsplit=1)[0]).strip()
    if not _EXTENSION.search(path) or _PLACEHOLDER.search(path) or not path.isprintable():
        return None
    return path
