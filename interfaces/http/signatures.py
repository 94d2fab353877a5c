"""Who sent it: signatures of webhooks, and the bearer token.

Two forms are understood, both HMAC-SHA256 over the raw body with the webhook secret, compared in constant time:

- GitHub's: `X-Hub-Signature-256: sha256=<hex>` over the body; the delivery is `X-GitHub-Delivery`.
  https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
- Standard Webhooks 1.0: `webhook-signature: v1,<base64> ...` over `<id>.<timestamp>.<body>`; `webhook-timestamp` not
  more than five minutes off. A secret that begins with `whsec_` is base64, as that specification writes secrets; for
  any other one its sender uses `whsec_` + base64 of it.
  https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping

from pydantic import SecretStr

from interfaces.http.errors import Refusal

__all__ = ["bearer", "verified"]

TOLERANCE_SECONDS = 300
MOST_SIGNATURES = 8  # senders list several while they change a secret
_ID = re.compile(r"[\x21-\x7e]{1,200}")


def verified(headers: Mapping[str, str], body: bytes, secret: SecretStr, now: float) -> tuple[str, str]:
    """The delivery of a signed request, as (form, id). `headers` with lower-case names; `now` in Unix seconds.

    Raises Refusal 401 when it is not signed as either form says, 400 when it is signed and has no usable id.
    """
    given = secret.get_secret_value()
    if "webhook-signature" in headers:
        delivery, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
            raise Refusal(401, "bad_timestamp", "The webhook-timestamp is missing or over five minutes off.")
        signed = f"{delivery}.{timestamp}.".encode("latin-1", "replace") + body
        right = base64.b64encode(_digest(_key(given), signed)).decode()
        _compare(
            [part[3:] for part in headers["webhook-signature"].split(" ") if part.startswith("v1,")], right
        )
        return "standard", _usable(delivery, "webhook-id")
    if "x-hub-signature-256" in headers:
        found = headers["x-hub-signature-256"]
        _compare([found[7:]] if found.startswith("sha256=") else [], _digest(given.encode(), body).hex())
        return "github", _usable(headers.get("x-github-delivery", ""), "X-GitHub-Delivery")
    raise Refusal(
        401,
        "not_signed",
        "The request is not signed: send X-Hub-Signature-256 with X-GitHub-Delivery, or the Standard Webhooks headers.",
    )


def bearer(headers: Mapping[str, str], secret: SecretStr) -> None:
    """Raises Refusal 401 unless the request carries the secret as its bearer token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    right = secret.get_secret_value().encode()
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), right):
        raise Refusal(
            401,
            "not_authorised",
            "Send `Authorization: Bearer <webhook_secret>`; it is in secrets.json in PENSTOCK_HOME.",
        )


def _compare(candidates: list[str], right: str) -> None:
    matches = [hmac.compare_digest(each.encode(), right.encode()) for each in candidates[:MOST_SIGNATURES]]
    if not any(matches):
        raise Refusal(401, "bad_signature", "The signature does not match the body and the webhook secret.")


def _digest(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _key(secret: str) -> bytes:
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return secret.encode()


def _usable(delivery: str, header: str) -> str:
    if not _ID.fullmatch(delivery):
        raise Refusal(400, "bad_delivery_id", f"{header} must be 1 to 200 printable ASCII characters.")
    return delivery
