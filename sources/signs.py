"""The signs that boards use for a state: in brackets, as a box, as a picture in a cell. Words are in
`sources.vocabulary`."""

from __future__ import annotations

import re
from html import unescape

from models.enums import Declared

MARKS: dict[str, Declared] = {
    "": Declared.TODO,
    **dict.fromkeys("xX✓✔☑✅🗸√vVхХ+", Declared.DONE),  # the two letters before the plus are Cyrillic
    **dict.fromkeys("~/", Declared.IN_PROGRESS),
    **dict.fromkeys("-—–", Declared.SKIPPED),
    "!": Declared.BLOCKED,
}
ODD_MARKS = frozenset('?>*<.=хХ"✗✘×❌')
"""Read as an item all the same, with a finding: the mark has no agreed meaning, or is a letter that looks like x."""

GLYPHS: dict[str, Declared] = {
    **dict.fromkeys("☐□⬜🔲", Declared.TODO),
    **dict.fromkeys("☑🗹☒", Declared.DONE),
}
"""Signs that are a box by themselves: `☐ text`."""

SIGNS: dict[str, Declared] = {
    **dict.fromkeys("➖⏭🗑🚮", Declared.SKIPPED),
    **dict.fromkeys("⛔🚫🛑⏸🔒💤", Declared.BLOCKED),
    **dict.fromkeys("🔄🚧⏳⌛🟡🏗🔨▶🔵👷🏃🛠🔧🔁🔃👀🔶🟨🟦◐◑◒◓", Declared.IN_PROGRESS),
    **dict.fromkeys("◔◕△▲⚠", Declared.PARTIAL),
    **dict.fromkeys("✅✔✓☑🗹☒🗸√🟢🟩🎉💯🆗👍🏁●◉◎◯〇✳", Declared.DONE),
    **dict.fromkeys("❌⬜🔲☐□🔴🟥⚪🆕⭕○◻◽✗✘✖×📝📋🗓📅", Declared.TODO),
}
"""What a cell says that has no word. Where a file explains its signs itself, that counts (`sources.legends`)."""
_WEIGHT = (
    Declared.SKIPPED,
    Declared.BLOCKED,
    Declared.PARTIAL,
    Declared.IN_PROGRESS,
    Declared.DONE,
    Declared.TODO,
)

_NAMES = (
    "✅ white_check_mark",
    "✔ heavy_check_mark check_mark check",
    "☑ ballot_box_with_check",
    "❌ x cross_mark negative_squared_cross_mark",
    "✖ heavy_multiplication_x",
    "⭕ o",
    "🚧 construction",
    "🏗 building_construction",
    "👷 construction_worker",
    "🔨 hammer",
    "🔧 wrench",
    "🛠 hammer_and_wrench",
    "🔄 arrows_counterclockwise",
    "🔁 repeat",
    "🏃 runner running",
    "👀 eyes",
    "⌛ hourglass",
    "⏳ hourglass_flowing_sand",
    "▶ arrow_forward",
    "⛔ no_entry",
    "🚫 no_entry_sign",
    "🛑 octagonal_sign stop_sign",
    "🔒 lock",
    "⏸ pause_button double_vertical_bar",
    "💤 zzz",
    "➖ heavy_minus_sign",
    "🗑 wastebasket",
    "⏭ next_track_button",
    "🔲 black_square_button",
    "⬜ white_square_button white_large_square",
    "◻ white_medium_square",
    "⚪ white_circle",
    "⚫ black_circle",
    "🔴 red_circle",
    "🟡 yellow_circle large_yellow_circle",
    "🟢 green_circle large_green_circle",
    "🔵 blue_circle large_blue_circle",
    "🟠 orange_circle large_orange_circle",
    "🟣 purple_circle",
    "🟤 brown_circle",
    "🎉 tada",
    "💯 100",
    "🆗 ok",
    "👍 +1 thumbsup",
    "🏁 checkered_flag",
    "🆕 new",
    "📝 memo",
    "📋 clipboard",
    "📅 date",
    "⚠ warning",
)
_SHORTCODES = {name: sign for sign, *names in map(str.split, _NAMES) for name in names}
_SHORTCODE = re.compile(r":([a-z0-9_+]{1,40}):")
_IMAGE = re.compile(
    r"!\[(?P<alt>[^\[\]]{0,200})\](?:\((?P<url>[^()\s]{0,500})[^()]{0,200}\)|\[[^\[\]]{0,100}\])"
)
_HTML_IMAGE = re.compile(r"<img\b[^<>]{0,500}?\balt=[\"']([^\"'<>]{0,200})[\"'][^<>]{0,500}>", re.IGNORECASE)
_LINK = re.compile(r"\[([^\[\]]{0,300})\](?:\([^()]{0,500}\)|\[[^\[\]]{0,100}\])")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,300}>")


def pictures(text: str) -> str:
    """`:construction:` as the sign that it is shown as."""
    if text.count(":") < 2:
        return text
    return _SHORTCODE.sub(lambda match: _SHORTCODES.get(match[1], match[0]), text)


def shown(cell: str) -> str:
    """What a reader sees of a cell: the words of its badges and links, its pictures, no tags."""
    if "<" in cell:
        cell = _TAG.sub(" ", _HTML_IMAGE.sub(r"\1", cell))
    if "&" in cell:
        cell = unescape(cell)
    if "](" in cell or "][" in cell:
        cell = _LINK.sub(r"\1", _IMAGE.sub(lambda match: match["alt"], cell))
    return pictures(cell)


def badge_words(cell: str) -> str:
    """What the address of a badge says where the words beside it say nothing: `badge/status-in%20progress-yellow`."""
    match = _IMAGE.search(cell)
    if match is None or not match["url"] or "badge/" not in match["url"]:
        return ""
    name = match["url"].partition("badge/")[2].split("?")[0].removesuffix(".svg").replace("--", " ")
    parts = name.replace("%20", " ").replace("_", " ").split("-")
    return " ".join(parts[1:-1] if len(parts) > 2 else parts[:1])


def sign_status(text: str) -> Declared | None:
    """What the signs of a text say together, the most telling first."""
    found = {SIGNS[sign] for sign in text if sign in SIGNS}
    return next((status for status in _WEIGHT if status in found), None)
