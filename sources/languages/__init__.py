"""The languages that boards are read in, a table each; what is made of them is in `sources.words` and above."""

from sources.languages.east_asian import CHINESE, JAPANESE, KOREAN
from sources.languages.english import ENGLISH
from sources.languages.germanic import DANISH, DUTCH, GERMAN, NORWEGIAN, SWEDISH
from sources.languages.language import STATE_FIELDS, Language, entries
from sources.languages.near_east import ARABIC, HEBREW, PERSIAN, TURKISH
from sources.languages.others import FINNISH, GREEK, HUNGARIAN
from sources.languages.romance import CATALAN, FRENCH, ITALIAN, PORTUGUESE, ROMANIAN, SPANISH
from sources.languages.slavic_east import BULGARIAN, RUSSIAN, SERBIAN, SERBIAN_LATIN, UKRAINIAN
from sources.languages.slavic_west import CZECH, POLISH, SLOVAK
from sources.languages.south_asian import HINDI, INDONESIAN, THAI, VIETNAMESE

LANGUAGES: tuple[Language, ...] = (
    ENGLISH,
    RUSSIAN,
    UKRAINIAN,
    GERMAN,
    FRENCH,
    SPANISH,
    PORTUGUESE,
    ITALIAN,
    DUTCH,
    POLISH,
    TURKISH,
    CHINESE,
    JAPANESE,
    KOREAN,
    CZECH,
    SLOVAK,
    SWEDISH,
    NORWEGIAN,
    DANISH,
    FINNISH,
    HUNGARIAN,
    ROMANIAN,
    CATALAN,
    GREEK,
    BULGARIAN,
    SERBIAN_LATIN,
    SERBIAN,
    ARABIC,
    HEBREW,
    PERSIAN,
    VIETNAMESE,
    INDONESIAN,
    THAI,
    HINDI,
)
"""A word that two of them share is taken for the first one's."""

__all__ = ["LANGUAGES", "STATE_FIELDS", "Language", "entries"]
