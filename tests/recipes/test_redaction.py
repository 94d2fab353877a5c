"""Secrets in prompts. The samples are made when the tests run: none of them stands in this file, or was ever valid."""

from __future__ import annotations

import base64
import random
import string
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.redaction import FARTHEST, Redaction, find_secrets, secret_findings

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
CHANCE = random.Random(5)


def some(count: int, letters: str = ALNUM) -> str:
    return "".join(CHANCE.choice(letters) for _ in range(count))


def jwt(head: bytes = b'{"alg":"HS256","typ":"JWT"}') -> str:
    parts = (head, b'{"sub":"' + some(12).encode() + b'"}', some(32).encode())
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def pem(label: str = "RSA ") -> str:
    rows = "\n".join(some(64) for _ in range(12))
    return f"-----BEGIN {label}PRIVATE KEY-----\n{rows}\n-----END {label}PRIVATE KEY-----"


SECRETS: dict[str, tuple[str, str]] = {
    "AWS": ("aws-access-key", "AK" + "IA" + some(16, string.ascii_uppercase + "234567")),
    "GitHub": ("github-token", "gh" + "p_" + some(36)),
    "GitHub, fine": ("github-token", "github" + "_pat_" + some(22) + "_" + some(59)),
    "GitLab": ("gitlab-token", "gl" + "pat-" + some(20)),
    "Slack": ("slack-token", "xo" + "xb-" + some(12, string.digits) + "-" + some(24)),
    "Stripe": ("stripe-key", "sk" + "_live_" + some(24)),
    "OpenAI": ("openai-key", "sk" + "-proj-" + some(48)),
    "Anthropic": ("anthropic-key", "sk" + "-ant-api03-" + some(93) + "AA"),
    "Google": ("google-api-key", "AI" + "za" + some(35)),
    "JWT": ("jwt", jwt()),
    "npm": ("npm-token", "np" + "m_" + some(36)),
    "Hugging Face": ("huggingface-token", "h" + "f_" + some(34)),
    "SendGrid": ("sendgrid-key", "S" + "G." + some(22) + "." + some(43)),
    "private key": ("private-key", pem()),
    "OpenSSH": ("private-key", pem("OPENSSH ")),
    "PKCS 8": ("private-key", pem("")),
}
"""By themselves: known wherever they stand."""

BEHIND_WORDS: dict[str, tuple[str, str, str]] = {
    ".env": ("DB_PASSWORD=", some(6) + "9xK" + some(6), "password"),
    "YAML": ("  api_token: ", some(16) + "7q", "token"),
    "quoted": ('client_secret = "', some(16) + "7q", "secret"),
    "JSON": ('{"apiKey": "', some(20) + "1f", "api-key"),
    "prose": ("The password: ", "Winter" + "2031!", "password"),
    "Markdown": ("- **Password:** `", "Tr0ub4dor" + "&3x", "password"),
    "flag": ("mysqldump --password ", some(12) + "4d", "password"),
    "header": ("Authorization: Bearer ", some(30) + "8z", "authorization"),
    "database": ("postgresql://app:", some(8) + "5", "password-in-url"),
    "AWS": ("aws_secret_access_key = ", some(38, ALNUM) + "+9", "aws-secret-key"),
    "Russian": ("пароль: ", "Vesna" + "2031x", "password"),
    "Azure": ("AccountName=a;AccountKey=", some(86) + "==", "azure-key"),
    "hexadecimal": ("SECRET_KEY=", some(48, HEX) + "0a", "secret"),
}
ENDINGS = {
    "database": "@db:5432/app",
    "quoted": '"',
    "JSON": '"}',
    "Markdown": "`",
    "Azure": ";EndpointSuffix=x",
}

HARMLESS = (
    "Merged in 53553d2f0c8a1b2c3d4e5f60718293a4b5c6d7e8, see 53553d2.",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "run 550e8400-e29b-41d4-a716-446655440000 failed",
    "token: 550e8400-e29b-41d4-a716-446655440000",
    "![a](data:image/png;base64," + base64.b64encode(random.Random(1).randbytes(3000)).decode() + ")",
    "AKIAIOSFODNN7EXAMPLE is the example in the manual",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "sk-ant-api03-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "OPENAI_API_KEY=sk-your-key-here-1234",
    "postgres://postgres:postgres@localhost/db, redis://:${REDIS_PASSWORD}@host, http://user:<password>@h/",
    "The token bucket holds 4096 tokens; max_tokens: 1024, password_min_length = 12",
    "password = os.environ['DB_PASSWORD_1']; token = settings.token2.value; secret = get_secret(name1)",
    "api_key: ${{ secrets.API_KEY_2 }}  token=$GITHUB_TOKEN_2",
    "secretName: postgres-tls-v1, secret_id = prod-db-credentials-2, token_url: https://a.b/oauth2/token1",
    "key: a1b2c3d4e5f6 and primary_key=user_id_1234567, PRIMARY KEY (id), partition key: tenant42-eu",
    "password_hash: $2b$12$KIXQ0sT9Pz4mO9ZBq3kz7uQxv5VZ3y0G0oXk1k9bqZcQmQ3u1Jx5e",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END CERTIFICATE-----",
    "model: gpt-4o-mini-2024-07-18, claude-3-5-sonnet-20241022, task-1234567890123456789",
    "docs/ops.md:12-18 tasks/execute/drain.py#L10-L20 v1.2.3-rc4 2031-05-01T10:20:30Z",
    "password: see the vault; the secret of success; Passwort vergessen? Token abgelaufen.",
    "integrity sha512-" + base64.b64encode(random.Random(2).randbytes(64)).decode(),
    "eyJ is how a token begins; eyJhbGciOi... was cut",
    "http://localhost:4270/path@x and git@github.com:a/b.git and mailto:a@b.c",
    "sk-learn, risk-averse-strategy-for-the-year-2031-and-beyond-it-all",
    "PASSWORD=changeme TOKEN=dummy12345678 SECRET_KEY=insecure-example-key-1",
)


@pytest.mark.parametrize("name", SECRETS)
def test_a_known_shape_is_taken_out_wherever_it_stands(name: str) -> None:
    kind, value = SECRETS[name]
    for before, after in (("", ""), ("key ", " is old."), ("`", "`"), ('"', '",'), ("x=", "\n"), ("(", ").")):
        shown = Redaction()(before + value + after)
        assert shown == f"{before}[redacted: {kind}]{after}"


def test_of_a_token_with_a_part_that_is_too_long_what_comes_before_it_is_taken_out() -> None:
    head, key, rest = jwt().partition(".")[0], some(342), f"{some(9_000)}.{some(22)}"
    assert Redaction()(f"Use {head}.{key}.{some(16)}.{rest} now.") == f"Use [redacted: jwt].{rest} now."


@pytest.mark.parametrize("name", BEHIND_WORDS)
def test_a_value_behind_a_word_is_taken_out(name: str) -> None:
    before, value, kind = BEHIND_WORDS[name]
    text = f"Set this:\n{before}{value}{ENDINGS.get(name, '')}\nand go on."
    assert Redaction()(text) == text.replace(value, f"[redacted: {kind}]")


@pytest.mark.parametrize("text", HARMLESS, ids=range(len(HARMLESS)))
def test_what_is_none_is_left_alone(text: str) -> None:
    assert find_secrets(text) == ()
    assert Redaction()(text) == text


def test_a_key_that_two_passages_share_is_taken_out_of_both() -> None:
    whole = pem()
    middle = whole.index("\n", 200) + 1
    first, second = f"before\n{whole[:middle]}", f"{whole[middle:]}\nafter"
    assert Redaction()(first) == "before\n[redacted: private-key]"
    assert Redaction()(second) == "[redacted: private-key]\nafter"


def test_equal_ones_stay_equal_and_different_ones_are_told_apart() -> None:
    one, other, third = ("gh" + "p_" + some(36) for _ in range(3))
    seen = Redaction()
    assert seen(f"{one} {other}") == "[redacted: github-token] [redacted: github-token #2]"
    assert seen(f"{other} {third} {one}") == (
        "[redacted: github-token #2] [redacted: github-token #3] [redacted: github-token]"
    )
    assert seen.told() == "5 secrets taken out of the prompt: 5 github-token."
    assert not any(value in repr(seen.told()) for value in (one, other, third))


def test_a_finding_names_line_and_kind_and_never_the_value() -> None:
    kind, value = SECRETS["Stripe"]
    found = secret_findings(f"# Plan\n\n- [ ] charge with {value}\n- [ ] and {value} {value}\n")
    assert [(each.code, each.line) for each in found] == [("secret", 3), ("secret", 4)]
    assert all(kind in each.message and value not in each.message for each in found)


def test_values_in_each_other_without_end_are_taken_out_unseen() -> None:
    """What is tried too often is not tried any more; nothing is let through for that."""
    value = some(8) + "4d"
    text = "pwd=" * 20_000 + value
    assert value not in Redaction()(text)
    assert find_secrets("x" + "-" * FARTHEST + SECRETS["Slack"][1]) == (), "as within base64"
    assert find_secrets("x" + "-" * (FARTHEST - 2) + SECRETS["Slack"][1]) != ()


def planted() -> Iterator[st.SearchStrategy[str]]:
    yield st.sampled_from([value for _, value in SECRETS.values()])
    yield st.sampled_from(HARMLESS)
    yield st.text(st.sampled_from("ab1 \n:=\"'-_./@#İß\u200b密") | st.characters(), max_size=30)


@settings(deadline=None)
@given(st.lists(st.one_of(*planted()), max_size=6))
def test_no_known_shape_is_left_in_any_text(parts: list[str]) -> None:
    text = " ".join(parts)
    shown = Redaction()(text)
    for value in (value for _, value in SECRETS.values() if value in parts):
        assert value not in shown
    places = find_secrets(text)
    assert all(0 <= each.start < each.end <= len(text) for each in places)
    assert all(one.end <= other.start for one, other in pairwise(places))


PIECES = (
    "password=", "://a:", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----\n", "eyJ", "bearer ", "sk-",
    "token: 'a", "aaaaaaaaaaaaa1", "data:image/png;base64,AKIA", "key_key_key_key_=", "pwd=", "eyJ-",
    "-eyJ_" * 800 + ".", "xoxb-", "glpat-a1.", "secret.token.key-a1.b=", "api_key=1.a_", "x-----END PRIVATE KEY-----",
    "AKIA" + "QWB5PDKHX6PYGPAN ",
)  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_the_time_is_linear_in_the_length(piece: str) -> None:
    text = "data:a/b;base64,aaaa " + piece * (400_000 // len(piece)) + " a1b2c3d4"
    began = time.process_time()
    find_secrets(text)
    assert time.process_time() - began < 3
