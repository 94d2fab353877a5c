"""Known shapes of secrets, found in foreign text and kept out of prompts.

What has a mark of its own (`ghp_...`, a private key, a password in an address) is known by that. A value behind a word
such as `password:` or `api_key=` is one where it looks made by chance: letters mixed with digits, no placeholder, no
path, no name. Hashes of commits, UUIDs, pictures in base64 and published example keys are left alone.

No library: detect-secrets 1.5 takes 24 ms for 2 kB, gives no offsets, and takes hashes of commits for secrets. Here a
rule begins with a literal, so a text costs a search for each of these, and an expression runs only where one stands:
0.04 ms for 2 kB. The shapes are those that the providers publish, as gitleaks and GitHub's secret scanning list them.
A text that is made to be slow takes about a microsecond a character: how often the same characters are tried is bounded
(`FARTHEST`, `MOST_LOOKS`).
"""

from __future__ import annotations

import binascii
import math
import re
from base64 import urlsafe_b64decode
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from models.board import Finding
from models.enums import Severity
from models.words import counted

LONGEST = 512
"""Characters of one value behind a word; a longer one is data."""
FARTHEST = 40
"""Letters, digits, `_` and `-` that may stand at once before what has a mark of its own."""
MOST_LOOKS = 8
"""How often, on an average, a character of a text is looked at as a part of a value. Values can stand in each other."""
LONGEST_SECRET = 40_000
"""Characters of the longest that is known by its shape (jwt), rounded up."""


class Secret(NamedTuple):
    """Where in a text a secret stands; what it is, is not kept beside it."""

    start: int
    end: int
    kind: str


class _Shape(NamedTuple):
    literals: tuple[str, ...]  # one of them begins it
    kind: str
    pattern: re.Pattern[str]  # matched where a literal stands; its group 1, if it has one, is the secret


def _shape(literals: str, kind: str, rest: str) -> _Shape:
    """`rest` follows the literal. No letter or digit stands around it, so that nothing is found within base64.

    Nor within its other alphabet, which has `-` and `_`: not far behind the beginning of a long word.
    """
    words = tuple(literals.split())
    heads = "|".join(map(re.escape, words))
    before = rf"(?<![A-Za-z0-9])(?<![A-Za-z0-9_-]{{{FARTHEST}}})"
    return _Shape(words, kind, re.compile(rf"{before}(?:{heads}){rest}(?![A-Za-z0-9])"))


_SHAPES = (
    _shape("AKIA ASIA ABIA ACCA", "aws-access-key", "[A-Z2-7]{16}"),
    _shape("ghp_ gho_ ghu_ ghs_ ghr_", "github-token", "[A-Za-z0-9]{36,255}"),
    _shape("github_pat_", "github-token", "[A-Za-z0-9_]{50,255}"),
    _shape(
        "glpat- gldt- glrt- glptt- glcbt- glsoat- glimt- glagent- glft- gloas-",
        "gitlab-token",
        r"[\w.-]{20,255}",
    ),
    _shape("xoxb- xoxp- xoxa- xoxr- xoxs- xoxe- xoxe.xoxp- xapp-", "slack-token", "[A-Za-z0-9-]{10,255}"),
    _shape("hooks.slack.com/", "slack-webhook", "(?:services|workflows|triggers)/([A-Za-z0-9/]{20,100})"),
    _shape("sk_live_ sk_test_ rk_live_ rk_test_", "stripe-key", "[A-Za-z0-9]{10,255}"),
    _shape("whsec_", "webhook-secret", "[A-Za-z0-9+/]{24,100}=*"),
    _shape("sk-ant-", "anthropic-key", r"[a-z]{2,6}\d\d-[\w-]{20,255}"),
    _shape("sk-proj- sk-svcacct- sk-admin- sk-None-", "openai-key", r"[\w-]{20,255}"),
    _shape("sk-or-v1- sk-lf- sk-", "api-key", "(?=[A-Za-z]*[0-9])[A-Za-z0-9]{32,128}"),
    _shape("AIza", "google-api-key", r"[\w-]{35}"),
    _shape("GOCSPX-", "google-client-secret", r"[\w-]{28}"),
    _shape("ya29.", "google-token", r"[\w-]{20,512}"),
    _shape("eyJ", "jwt", r"[\w-]{8,4096}+(?:\.[\w-]{8,8192}+(?![\w-])){1,4}+"),
    _shape("npm_", "npm-token", "[A-Za-z0-9]{36}"),
    _shape("pypi-AgE", "pypi-token", r"[\w-]{50,512}"),
    _shape("hf_", "huggingface-token", "[A-Za-z0-9]{34}"),
    _shape("SG.", "sendgrid-key", r"[\w-]{22}\.[\w-]{43}"),
    _shape("dop_v1_ doo_v1_ dor_v1_", "digitalocean-token", "[0-9a-f]{64}"),
    _shape("shpat_ shpca_ shppa_ shpss_", "shopify-token", "[0-9a-fA-F]{32}"),
    _shape("hvs. hvb.", "vault-token", r"[\w-]{24,300}"),
    _shape("dckr_pat_", "docker-token", r"[\w-]{27}"),
    _shape("dapi", "databricks-token", r"[0-9a-f]{32}(?:-\d)?"),
    _shape("gsk_", "groq-key", "[A-Za-z0-9]{52}"),
    _shape("xai-", "xai-key", "[A-Za-z0-9]{80}"),
    _shape("r8_", "replicate-token", "[A-Za-z0-9]{37}"),
    _shape("lsv2_pt_ lsv2_sk_", "langsmith-key", "[0-9a-f]{32}_[0-9a-f]{10}"),
    _shape("glsa_", "grafana-token", "[A-Za-z0-9]{32}_[0-9a-f]{8}"),
    _shape("lin_api_", "linear-key", "[A-Za-z0-9]{40}"),
    _shape("ATATT3", "atlassian-token", "[A-Za-z0-9_=-]{100,300}"),
    _shape("AGE-SECRET-KEY-1", "age-key", "[0-9A-Z]{58}"),
    _shape("AccountKey=", "azure-key", "([A-Za-z0-9+/]{40,100}={0,2})"),
    _shape("SharedAccessKey=", "azure-key", "([A-Za-z0-9+/]{40,100}={0,2})"),
    _shape(":AA", "telegram-token", r"(?<=[0-9]{8}:AA)[\w-]{33}"),
)

_LABEL = r"(?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_LITERALS = {literal: (shape.pattern, shape.kind) for shape in _SHAPES for literal in shape.literals}
SHORTEST = 8
"""Characters of a value behind a word such as `password:`."""
LONGEST_PART = 20_000
"""Characters of a text that is remembered with what was found in it. Few longer ones are, up to LONGEST_OF_FEW."""
LONGEST_OF_FEW = 500_000
LONG = 18
"""Characters of the shortest word in which a shape stands."""
_DIGIT = re.compile(r"\d")

_KEY_BEGIN = re.compile(
    rf"-----BEGIN {_LABEL}(?:(?!-----).){{0,20000}}?(?:-----END {_LABEL}|(?=-----)|\Z)", re.DOTALL
)
_KEY_END = re.compile(rf"-----END {_LABEL}")
LONGEST_ROW = 1_000
_KEY_ROW = re.compile(r"[ \t]*[A-Za-z0-9+/=]{1,100}[ \t]*\n")
_ADDRESS = re.compile(r"://([^\s/:@\"'<>`]{0,100}):([^\s/@\"'<>`]{3,256})@(?=[\w\[${])")
_BEARER = re.compile(r"(?:Bearer|Basic)\s{1,3}([\w.~+/=-]{16,4096})", re.IGNORECASE)

_STEMS = ("pass", "pwd", "secret", "token", "key", "credential", "парол")
"""What a name of a secret has in it, in small letters."""
_KINDS = {"pa": "password", "pw": "password", "па": "password", "to": "token", "ke": "api-key"}
_KEY_OF = re.compile(r"(?:api|access|auth|encryption|secret|private|signing|master)[-_ ]?\Z", re.IGNORECASE)
_VALUE = re.compile(
    r"(?:pass(?:word|wd|phrase|wort)|pwd|secret|token|key|credential|парол[ья])"
    r"(?P<name>[\w.-]{0,24}+)[\"'`*]{0,3}+\]?"
    r"(?:\s{0,3}+(?::=|=>|==|=|:|>)\s{0,3}(?:str\s{0,2}=\s{0,2})?(?:\*\*)?\s{0,2}"
    rf"(?:(?P<q>[\"'`])(?P<quoted>[^\"'`\n]{{8,{LONGEST}}})(?P=q)"
    rf"|(?P<plain>[^\s\"'`,;<>(){{}}\[\]|]{{8,{LONGEST}}}+)(?![(\[{{]))"
    r"|(?:(?<=-password)|(?<=-token)|(?<=-key)|(?<=-secret))[ ](?P<flag>[^\s\"'`-][^\s\"'`]{7,128}))",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"(?:id|ids|name|names|path|file|files|dir|url|uri|ref|arn|type|kind|count|len|length|ttl|expir\w*|limit|size|hash\w*|"
    r"sha\d*|digest|fingerprint|version|prefix|field|column|class|policy|provider|store|manager|bucket\w*|s)$",
    re.IGNORECASE,
)
"""What stands behind the word and makes another thing of it: `token_count`, `secret_name`, `password_hash`."""
_PLACEHOLDERS = (
    "example", "sample", "placeholder", "changeme", "your-", "your_", "your ", "dummy", "redacted", "fake", "foobar",
    "insert-", "insert_", "insert ", "todo", "replace", "xxxx", "***", "...", "…", "000000", "111111", "1234567890",
    "abcdefghijkl", "{", "}", "<", ">",
)  # fmt: skip
_PLACEHOLDER = re.compile(r"^your|^(?:password|secret|token)\d{0,4}$|^[$%@#\\,+]|^test", re.IGNORECASE)
_UNREAL = re.compile(r"change.me|not[-_ ]?(?:a[-_ ])?real", re.IGNORECASE)
_DUMMY = frozenset(
    re.findall(
        r"\w+",
        "pass passwd password pwd secret pw postgres root admin guest user username test testing token key none null"
        " mysql penstock redis rabbitmq minio changeme letmein example dev local demo xxx tiger",
    )
)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z", re.IGNORECASE)
_DIGEST = re.compile(
    r"(?:(?:sha(?:1|256|384|512)|md5)[:-])?(?:[0-9a-f]{7,12}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})\Z"
)
_PATHLIKE = re.compile(
    r"(?:\.{0,2}|~)/|[A-Za-z]:\\|.*(?:://|\.(?:py|ts|js|go|rs|md|json|ya?ml|toml|env|txt|pem|sh)\Z)"
)
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)+\Z")
_MIXED = re.compile(r"(?=\D*\d)(?=[\W\d_]*[^\W\d_])")
_DATA = re.compile(r"(?=data:[\w./+-]{1,60};base64,([A-Za-z0-9+/=\s]*))")

LEAST_ENTROPY = 3.0
"""Bits a character (Shannon) of a value of 12 characters or more. Names and words in one case have 2.5 to 3.2 and fail
the other tests; what a generator makes has 3.3 (hexadecimal) and more."""


def find_secrets(text: str) -> tuple[Secret, ...]:
    """The secrets of a text, in their order, none within another. Linear in its length."""
    if len(text) <= LONGEST_PART:
        return _of_part(text)
    return _of_long(text) if len(text) <= LONGEST_OF_FEW else _find(text)


def secret_findings(text: str) -> list[Finding]:
    """What a board's reader is told: line and kind of each secret, never the value."""
    found: dict[tuple[int, str], None] = {}
    line, at = 1, 0
    for secret in find_secrets(text):
        line += text.count("\n", at, secret.start)
        at = secret.start
        found[line, secret.kind] = None
    return [
        Finding(
            "secret",
            Severity.WARNING,
            line,
            f"what stands here looks like a secret ({kind}). Prompts show `[redacted: {kind}]` in its place; take it "
            "out of the file, and have a new one made if others could read it.",
        )
        for line, kind in found
    ]


@lru_cache(maxsize=1024)
def _of_part(text: str) -> tuple[Secret, ...]:
    """Cached: parents and passages come again."""
    return _find(text)


@lru_cache(maxsize=4)
def _of_long(text: str) -> tuple[Secret, ...]:
    """A long parent comes again with each of its parts."""
    return _find(text)


def _find(text: str) -> tuple[Secret, ...]:
    words = [
        word for word in text.split() if len(word) >= SHORTEST and (len(word) >= LONG or not word.isalpha())
    ]
    pictures = _Pictures(text)
    found = [*_shaped(text, [word for word in words if len(word) >= LONG], pictures)]
    if "PRIVATE KEY" in text:
        found += _private_keys(text)
    if "://" in text:
        found += _addresses(text)
    if any(map(_DIGIT.search, words)):
        small = text.lower()
        if len(small) != len(text):  # a letter that becomes two when it is made small
            small = "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)
        found += _headers(text, small)
        found += _assigned(text, small, pictures)
    if len(found) < 2:
        return tuple(found)
    # What has a shape of its own comes first and keeps its name; the sort is stable.
    found.sort(key=lambda each: each.start)
    kept: list[Secret] = []
    for each in found:
        if kept and each.start < kept[-1].end:
            last = kept[-1]
            kept[-1] = Secret(last.start, max(last.end, each.end), last.kind)
        else:
            kept.append(each)
    return tuple(kept)


@dataclass(slots=True)
class Redaction:
    """The secrets of one prompt: equal ones get the same mark, different ones of a kind are numbered."""

    _marks: dict[str, str] = field(default_factory=dict)
    _kinds: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)  # how many of each kind were taken out

    def __call__(self, text: str) -> str:
        """The text with `[redacted: KIND]` where a secret stands, `[redacted: KIND #2]` for the second one."""
        secrets = find_secrets(text)
        if not secrets:
            return text
        parts = []
        at = 0
        for start, end, kind in secrets:
            parts += [text[at:start], self._mark(text[start:end], kind)]
            self.found[kind] += 1
            at = end
        return "".join([*parts, text[at:]])

    def _mark(self, value: str, kind: str) -> str:
        if (mark := self._marks.get(value)) is None:
            self._kinds[kind] += 1
            number = f" #{self._kinds[kind]}" if self._kinds[kind] > 1 else ""
            mark = self._marks[value] = f"[redacted: {kind}{number}]"
        return mark

    def told(self) -> str:
        """In words, for the attempt; empty where nothing was found."""
        if not self.found:
            return ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.found.items()))
        total = self.found.total()
        return f"{counted(total, 'secret')} taken out of the prompt: {kinds}."


def redacted(text: str) -> str:
    """One text by itself."""
    return Redaction()(text)


def _at(text: str, literal: str) -> Iterator[int]:
    at = text.find(literal)
    while at >= 0:
        yield at
        at = text.find(literal, at + 1)


def _shaped(text: str, words: Sequence[str], pictures: _Pictures) -> Iterator[Secret]:
    """What has a mark of its own has no blank in it and is long: prose has few such words."""
    left = MOST_LOOKS * len(text) + LONGEST_SECRET  # characters, as in `_assigned`
    at = 0
    for word in words:
        at = text.index(word, at)
        for literal, (pattern, kind) in _LITERALS.items():
            if literal not in word:
                continue
            done = 0
            for start in _at(word, literal):
                if at + start < done or (match := pattern.match(text, at + start)) is None:
                    continue
                begin, end = match.span(pattern.groups and 1)
                left -= end - begin
                if left < 0 or (_is_real(text[begin:end], kind) and not pictures.have(begin)):
                    done = end
                    yield Secret(begin, end, kind)
        at += len(word)


def _is_real(value: str, kind: str) -> bool:
    if kind == "jwt":
        return _is_token(value)
    return not _is_placeholder(value) and (len(value) < 20 or _entropy(value) >= LEAST_ENTROPY)


def _is_placeholder(value: str) -> bool:
    """Is it one that an example has? Searches for words: one expression of them takes ten times as long."""
    small = value.lower()
    return (
        any(word in small for word in _PLACEHOLDERS)
        or _PLACEHOLDER.match(value) is not None
        or (("change" in small or "real" in small) and _UNREAL.search(value) is not None)
    )


def _is_token(value: str) -> bool:
    """Is its first part JSON that names an algorithm?"""
    head = value.partition(".")[0]
    try:
        return b'"alg"' in urlsafe_b64decode(head + "=" * (-len(head) % 4))
    except (binascii.Error, ValueError):
        return False


class _Pictures:
    """Where the data of `data:` addresses stand."""

    def __init__(self, text: str) -> None:
        found = list(_DATA.finditer(text)) if ";base64," in text else ()
        self._starts = [each.start() for each in found]
        self._ends = [each.end(1) for each in found]

    def have(self, at: int) -> bool:
        place = bisect_right(self._starts, at) - 1
        return place >= 0 and at <= self._ends[place]


def _private_keys(text: str) -> Iterator[Secret]:
    end = 0
    for at in _at(text, "-----BEGIN "):
        if at >= end and (match := _KEY_BEGIN.match(text, at)):
            end = match.end()
            yield Secret(at, end, "private-key")
    for at in _at(text, "-----END "):
        if at >= end and (close := _KEY_END.match(text, at)):
            # The rows before it, back to the first that is none.
            start = at
            while start > 0:
                row = text.rfind("\n", max(0, start - LONGEST_ROW), start - 1) + 1
                if not _KEY_ROW.fullmatch(text, row, start):
                    break
                start = row
            yield Secret(start, close.end(), "private-key")
            end = close.end()


def _addresses(text: str) -> Iterator[Secret]:
    for at in _at(text, "://"):
        match = _ADDRESS.match(text, at)
        if match is None:
            continue
        user, password = match.groups()
        dummy = password.lower() in _DUMMY or password.lower() == user.lower()
        if not dummy and not _is_placeholder(password):
            yield Secret(*match.span(2), "password-in-url")


def _headers(text: str, small: str) -> Iterator[Secret]:
    for word in ("bearer ", "basic "):
        for at in _at(small, word):
            match = _BEARER.match(text, at)
            if match is not None and _is_by_chance(match[1], "token") and not _UUID.match(match[1]):
                yield Secret(*match.span(1), "authorization")


def _assigned(text: str, small: str, pictures: _Pictures) -> Iterator[Secret]:
    left = MOST_LOOKS * len(text) + LONGEST  # characters
    for stem in _STEMS:
        done = 0
        for at in _at(small, stem):
            if at < done or (match := _VALUE.match(text, at)) is None:
                continue
            if stem == "key" and not _KEY_OF.search(text, max(0, at - 12), at):
                continue
            if (name := match["name"]) and _OTHER.search(name):
                continue
            group = next(each for each in ("quoted", "plain", "flag") if match[each] is not None)
            start, end = match.span(group)
            value = text[start:end]
            if group == "plain":
                value = value.rstrip(".:?*\\")
                end = start + len(value)
            kind = _KINDS.get(stem[:2], "secret")
            left -= len(value)
            # A text with so many values in each other is made to be slow: what is not looked at is taken for a secret.
            if left < 0 or (_is_by_chance(value, kind) and not pictures.have(start)):
                done = end
                named = text[max(0, at - 12) : match.start(group)].lower()
                yield Secret(start, end, "aws-secret-key" if "aws_secret" in named else kind)


def _is_by_chance(value: str, kind: str) -> bool:
    """Does a value behind a word look like one that nobody would write as a name, a path or an example?"""
    if len(value) < SHORTEST or (" " in value.strip() and kind != "password"):
        return False
    if _is_placeholder(value) or value.lower() in _DUMMY:
        return False
    if _PATHLIKE.match(value) or _DOTTED.match(value):
        return False
    if kind == "token" and (_UUID.match(value) or _DIGEST.match(value)):
        return False
    parts = re.split(r"[-_. ]", value)
    if not any(len(part) >= 6 and _MIXED.match(part) for part in parts):
        return False
    if len(value) < 12:
        return len(set(value)) >= 6
    return _entropy(value) >= LEAST_ENTROPY


def _entropy(value: str) -> float:
    size = len(value)
    shares = [value.count(each) / size for each in set(value)]
    return -sum(share * math.log2(share) for share in shares)
