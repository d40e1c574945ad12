"""What may go wrong with a Realtime model, and what can be done about it. Pure.

A model complains by an `error` event, by a response that failed, by the status of a refused upgrade or by the code of
a close. All of them end here, as one of eight kinds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic_core import from_json


class Kind(Enum):
    """What to do about it."""

    HARMLESS = "harmless"
    """Nothing: what was asked for had happened already."""
    BUSY = "busy"
    """A response is running: ask again after its `response.done`."""
    NOTHING_HEARD = "nothing_heard"
    """A commit of less than 100 ms of audio: there is nothing to answer."""
    EXPIRED = "expired"
    """The session had its 60 minutes: begin another, with the conversation."""
    RATE_LIMITED = "rate_limited"
    """Wait, `retry_after_s` if it is known."""
    REFUSED = "refused"
    """The key, the account or the model: a human must act."""
    UNAVAILABLE = "unavailable"
    """The vendor, or the way to it: try again."""
    BAD_REQUEST = "bad_request"
    """We said something wrong, and nothing came of it: log it as an error."""

    @property
    def retryable(self) -> bool:
        """Whether the same may succeed later."""
        return self in _RETRYABLE


_RETRYABLE = frozenset({Kind.BUSY, Kind.EXPIRED, Kind.RATE_LIMITED, Kind.UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Trouble:
    """One complaint, understood. `text` is for logs."""

    kind: Kind
    text: str
    retry_after_s: float | None = None

    @property
    def retryable(self) -> bool:
        return self.kind.retryable


# Where no public code shows a code, PROTOCOLS.md says so; the rest are codes of the Realtime API's error events
# and responses, of OpenAI's HTTP errors, or of the reasons in its close frames.
BY_CODE: dict[str, Kind] = {
    "response_cancel_not_active": Kind.HARMLESS,
    "conversation_already_has_active_response": Kind.BUSY,
    "input_audio_buffer_commit_empty": Kind.NOTHING_HEARD,
    "session_expired": Kind.EXPIRED,
    "rate_limit_exceeded": Kind.RATE_LIMITED,
    "inference_rate_limit_exceeded": Kind.RATE_LIMITED,
    "slow_down": Kind.RATE_LIMITED,
    "insufficient_quota": Kind.REFUSED,
    "billing_hard_limit_reached": Kind.REFUSED,
    "billing_not_active": Kind.REFUSED,
    "invalid_api_key": Kind.REFUSED,
    "expired_api_key": Kind.REFUSED,
    "account_deactivated": Kind.REFUSED,
    "invalid_organization": Kind.REFUSED,
    "model_not_found": Kind.REFUSED,
    "invalid_model": Kind.REFUSED,
    "model_decommissioned": Kind.REFUSED,
    "unsupported_country_region_territory": Kind.REFUSED,
    "beta_api_shape_disabled": Kind.REFUSED,
    "server_error": Kind.UNAVAILABLE,
    "internal_error": Kind.UNAVAILABLE,
    "server_overloaded": Kind.UNAVAILABLE,
    "service_unavailable": Kind.UNAVAILABLE,
    "timeout": Kind.UNAVAILABLE,
}

BY_WORDS: tuple[tuple[str, Kind], ...] = (
    ("already shorter than", Kind.HARMLESS),  # truncation beyond the end: it was heard to its end
    ("no active response", Kind.HARMLESS),
    ("already has an active response", Kind.BUSY),
    ("buffer too small", Kind.NOTHING_HEARD),
    ("maximum duration", Kind.EXPIRED),
    ("exceeded your current quota", Kind.REFUSED),
    ("rate limit reached", Kind.RATE_LIMITED),
    ("incorrect api key", Kind.REFUSED),
    ("missing bearer", Kind.REFUSED),
)
"""For errors without a code that we know: parts of their messages, in lower case."""

BY_TYPE: dict[str, Kind] = {
    "insufficient_quota": Kind.REFUSED,
    "authentication_error": Kind.REFUSED,
    "permission_error": Kind.REFUSED,
    "rate_limit_error": Kind.RATE_LIMITED,
    "requests": Kind.RATE_LIMITED,  # OpenAI names the limit that was hit as the type
    "tokens": Kind.RATE_LIMITED,
    "server_error": Kind.UNAVAILABLE,
    "invalid_request_error": Kind.BAD_REQUEST,
}

BY_STATUS: dict[int, Kind] = {
    408: Kind.UNAVAILABLE,
    409: Kind.UNAVAILABLE,
    425: Kind.UNAVAILABLE,
    429: Kind.RATE_LIMITED,
}
"""Statuses of a refused upgrade. Every other below 500 is our key, account, model or address: a human must act."""

LONGEST_TEXT = 300
"""Characters of a vendor's text that a log line takes."""

_WAIT = re.compile(
    r"try again in (?:(?P<minutes>\d+)m(?!s))?(?:(?P<value>\d+(?:\.\d+)?)(?P<unit>ms|s))?", re.IGNORECASE
)
"""OpenAI's own words for when a limit is over: `6ms`, `1.2s`, `1m30s`."""


def classify(error: Mapping[str, Any]) -> Trouble:
    """Understand the `error` object of an `error` event, of a failed response's `status_details`, of a failed
    transcription or of an HTTP body. Fields of any type are tolerated; an error like no other may be tried again."""
    code, category, message = (_text(error.get(name)) for name in ("code", "type", "message"))
    kind = _known(code, category, message) or Kind.UNAVAILABLE
    return Trouble(kind, _short(code or category, message), _wait_s(message) if kind is Kind.RATE_LIMITED else None)


def refused_upgrade(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Trouble:
    """Understand an HTTP answer that is not 101. `headers` are looked up in lower case."""
    error = _error_in(body)
    code, category, message = (_text(error.get(name)) for name in ("code", "type", "message"))
    kind = Kind.UNAVAILABLE if status >= 500 else BY_STATUS.get(status, Kind.REFUSED)
    if status < 500 and (known := _known(code, category, message)) not in (None, Kind.BAD_REQUEST):
        kind = known or kind  # 429 is also the status of an empty account
    waits_s = _header_s(headers or {}) if kind is not Kind.REFUSED else None
    return Trouble(kind, _short(f"HTTP {status}", code, message), waits_s)


def closed(code: int, reason: str = "", after: Trouble | None = None) -> Trouble:
    """Understand the end of the wire. `code` 1006: it ended without a word; `after`: the complaint just before it.

    Reasons like `invalid_request_error.invalid_api_key` (close code 3000) hold a type and a code. Every other end may
    be tried again, 1000 too: a model has no cause to leave a call.
    """
    category, _, name = reason.rpartition(".")
    kinds = (_known(name, category, reason), after.kind if after else None)
    kind = next((kind for kind in kinds if kind in _CLOSING), Kind.UNAVAILABLE)
    text = _short(f"closed with {code}", reason)
    return Trouble(kind, f"{text}, after {after.text}" if after else text, after.retry_after_s if after else None)


_CLOSING = (Kind.EXPIRED, Kind.RATE_LIMITED, Kind.REFUSED)
"""What a model hangs up for."""


def _known(code: str, category: str, message: str) -> Kind | None:
    words = message.lower()
    by_words = next((kind for part, kind in BY_WORDS if part in words), None)
    return BY_CODE.get(code) or by_words or BY_TYPE.get(category)


def _error_in(body: bytes) -> Mapping[str, Any]:
    """`{"error": {...}}`; what is not that, says nothing."""
    try:
        data = from_json(body)
    except ValueError:
        return {}
    error = data.get("error") if isinstance(data, dict) else None
    return error if isinstance(error, dict) else {}


def _wait_s(message: str) -> float | None:
    found = _WAIT.search(message)
    if found is None or not (found["minutes"] or found["value"]):
        return None
    seconds = float(found["value"] or 0) / (1000 if (found["unit"] or "").lower() == "ms" else 1)
    return seconds + 60 * int(found["minutes"] or 0)


def _header_s(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds, or `Retry-After-Ms`, as OpenAI sends them; its form as a date would need a clock."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if re.fullmatch(r"\d{1,9}(\.\d+)?", value := headers.get(name, "").strip()):
            return float(value) * scale
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _short(*parts: str) -> str:
    return ": ".join(part for part in parts if part)[:LONGEST_TEXT] or "no reason given"
