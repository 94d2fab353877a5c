"""What an item's own folder or repository has for it: read only, inside the root, each piece with its place.

Off unless a recipe has `files`. A file or lines that the item names come first, then what is most like it by its words.
Read are text files that are not hidden and that git does not ignore, in the repository of the board, or in its folder
where that is in none; never a link, a file that is known to hold secrets, or anything above. A board without a folder
(standard input, an upload, GitHub, a revision) has none. What a file says is foreign text like any other: hidden text
and secrets are taken out where the prompt is rendered.
"""

from __future__ import annotations

from tasks.files.giving import FilesOf, files_for_items
from tasks.files.roots import root_of

__all__ = ["FilesOf", "files_for_items", "root_of"]
