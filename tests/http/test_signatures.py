"""Who is believed: the vectors of both forms, and what is near them."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from interfaces.http.errors import Refusal
from interfaces.http.signatures import bearer, verified
from models.settings import Settings

NOW = 1_614_265_330.0


def github(body: bytes, secret: str, delivery: str = "d-1") -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={digest}", "x-github-delivery": delivery}


def test_githubs_own_vector() -> None:
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": right, "x-github-delivery": "72d3162e-cc78"}
    secret = SecretStr("It's a Secret to Everybody")
    assert verified(headers, b"Hello, World!", secret, NOW) == ("github", "72d3162e-cc78")
    with pytest.raises(Refusal, match="does not match"):
        verified(headers, b"Hello, World?", secret, NOW)


STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
STANDARD_BODY = b'{"test": 2432232314}'
STANDARD_SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


@pytest.mark.parametrize(
    "signature",
    ["{}", "v1,AAAA {}", "v1a,xx v2,yy {}", "{} v1,zzzz"],
)
def test_standard_webhooks_own_vector(signature: str) -> None:
    # From the reference implementations' tests of standard-webhooks/standard-webhooks.
    headers = STANDARD | {"webhook-signature": signature.format(STANDARD["webhook-signature"])}
    assert verified(headers, STANDARD_BODY, STANDARD_SECRET, NOW) == ("standard", STANDARD["webhook-id"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"webhook-id": "msg_other"}, "bad_signature"),
        ({"webhook-timestamp": "1614265331"}, "bad_signature"),
        ({"webhook-signature": "v1,"}, "bad_signature"),
        ({"webhook-signature": ""}, "bad_signature"),
        ({"webhook-signature": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, "bad_signature"),
        ({"webhook-timestamp": "1614265630.5"}, "bad_timestamp"),
        ({"webhook-timestamp": ""}, "bad_timestamp"),
        ({"webhook-timestamp": "-1614265330"}, "bad_timestamp"),
        ({"webhook-timestamp": "١٦١٤٢٦٥٣٣٠"}, "bad_timestamp"),
    ],
)
def test_a_changed_header_is_refused(changes: dict[str, str], code: str) -> None:
    with pytest.raises(Refusal) as caught:
        verified(STANDARD | changes, STANDARD_BODY, STANDARD_SECRET, NOW)
    assert (caught.value.status, caught.value.code) == (401, code)


@pytest.mark.parametrize(("off", "fine"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_the_window_is_five_minutes(off: int, fine: bool) -> None:
    if fine:
        assert verified(STANDARD, STANDARD_BODY, STANDARD_SECRET, NOW + off)
        return
    with pytest.raises(Refusal, match="five minutes"):
        verified(STANDARD, STANDARD_BODY, STANDARD_SECRET, NOW + off)


def test_a_plain_secret_signs_standard_webhooks_too() -> None:
    secret, body = "plain words", b"{}"
    signed = hmac.new(secret.encode(), b"id.1614265330." + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": "id",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1," + base64.b64encode(signed).decode(),
    }
    assert verified(headers, body, SecretStr(secret), NOW) == ("standard", "id")


def test_unsigned_is_refused_with_words() -> None:
    with pytest.raises(Refusal, match="not signed"):
        verified({}, b"{}", SecretStr("s"), NOW)


@pytest.mark.parametrize("delivery", ["", "with space", "ключ", "x" * 201, "a\nb"])
def test_a_delivery_needs_a_usable_id(delivery: str) -> None:
    with pytest.raises(Refusal) as caught:
        verified(github(b"{}", "s", delivery), b"{}", SecretStr("s"), NOW)
    assert caught.value.status == 400


@given(body=st.binary(max_size=200), other=st.binary(max_size=200), secret=st.text(min_size=1, max_size=40))
def test_only_the_body_that_was_signed_passes(body: bytes, other: bytes, secret: str) -> None:
    headers = github(body, secret)
    assert verified(headers, body, SecretStr(secret), NOW) == ("github", "d-1")
    if other != body:
        with pytest.raises(Refusal):
            verified(headers, other, SecretStr(secret), NOW)


@given(
    st.dictionaries(
        st.sampled_from([*STANDARD, "x-hub-signature-256", "x-github-delivery"]), st.text(max_size=80)
    )
)
def test_rubbish_is_refused_and_nothing_else(headers: dict[str, str]) -> None:
    with pytest.raises(Refusal):
        verified(headers, b"{}", SecretStr("s"), NOW)


@pytest.mark.parametrize("given_", ["", "Bearer", "Bearer wrong", "Basic s3cret", "s3cret", "Bearer ключ"])
def test_the_wrong_token_is_refused(given_: str) -> None:
    with pytest.raises(Refusal) as caught:
        bearer({"authorization": given_}, SecretStr("s3cret"))
    assert "s3cret" not in str(caught.value)


def test_the_right_token_passes() -> None:
    bearer({"authorization": "bearer s3cret"}, SecretStr("s3cret"))


@pytest.mark.parametrize("short", ["", "whsec_", "15 characters.."])
def test_a_secret_that_can_be_guessed_is_no_setting(short: str) -> None:
    with pytest.raises(ValidationError, match="at least 16"):
        Settings(webhook_secret=short)
