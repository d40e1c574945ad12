from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.relay import trouble
from workers.relay.trouble import BY_CODE, BY_STATUS, BY_TYPE, BY_WORDS, Kind, Trouble, classify

INVALID = "invalid_request_error"


def test_who_may_try_again() -> None:
    assert {kind for kind in Kind if kind.retryable} == {
        Kind.BUSY,
        Kind.EXPIRED,
        Kind.RATE_LIMITED,
        Kind.UNAVAILABLE,
    }


@pytest.mark.parametrize(("code", "kind"), BY_CODE.items())
def test_a_code_says_more_than_the_type_that_comes_with_it(code: str, kind: Kind) -> None:
    for category in (INVALID, "server_error", None):
        assert classify({"type": category, "code": code, "message": "Something."}).kind is kind


@pytest.mark.parametrize(("words", "kind"), BY_WORDS)
def test_words_stand_in_for_a_code_that_is_not_known(words: str, kind: Kind) -> None:
    message = f"Sorry: {words.capitalize()} 17."
    assert classify({"type": INVALID, "code": "invalid_value", "message": message}).kind is kind
    assert classify({"type": INVALID, "code": None, "message": message}).kind is kind


@pytest.mark.parametrize(("category", "kind"), BY_TYPE.items())
def test_the_type_is_the_last_that_counts(category: str, kind: Kind) -> None:
    assert classify({"type": category, "code": "never_seen", "message": "Something."}).kind is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        # As they were seen: PROTOCOLS 1.5, and public reports.
        (
            {
                "type": INVALID,
                "code": "response_cancel_not_active",
                "message": "Cancellation failed: no active response",
            },
            Kind.HARMLESS,
        ),
        (
            {
                "type": INVALID,
                "code": "invalid_value",
                "message": "Audio content of 900ms is already shorter than 1200ms",
            },
            Kind.HARMLESS,
        ),
        (
            {
                "type": INVALID,
                "code": None,
                "message": "Conversation already has an active response in progress: resp_1.",
            },
            Kind.BUSY,
        ),
        (
            {
                "type": INVALID,
                "code": "input_audio_buffer_commit_empty",
                "message": "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio.",
            },
            Kind.NOTHING_HEARD,
        ),
        (
            {"type": INVALID, "code": None, "message": "Your session hit the maximum duration of 60 minutes."},
            Kind.EXPIRED,
        ),
        ({"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded..."}, Kind.REFUSED),
        ({"type": INVALID, "code": None, "message": "Missing bearer or basic authentication in header"}, Kind.REFUSED),
        ({"type": "tokens", "code": "rate_limit_exceeded", "message": "Rate limit reached"}, Kind.RATE_LIMITED),
        ({"type": "server_error", "code": None, "message": "The server had an error"}, Kind.UNAVAILABLE),
        ({"type": INVALID, "code": "cannot_update_voice", "message": "Cannot update"}, Kind.BAD_REQUEST),
        ({"type": INVALID, "code": "item_truncate_invalid_item_id", "message": "not found"}, Kind.BAD_REQUEST),
        ({"type": "brand_new_error", "code": "brand_new", "message": "?"}, Kind.UNAVAILABLE),
        ({}, Kind.UNAVAILABLE),
        ({"type": 7, "code": ["x"], "message": {"a": 1}}, Kind.UNAVAILABLE),
    ],
)
def test_errors_as_the_api_sends_them(error: dict[str, Any], kind: Kind) -> None:
    assert classify(error).kind is kind


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 6ms.", 0.006),
        ("Please try again in 1.2s. Visit the site", 1.2),
        ("please TRY AGAIN IN 20s", 20.0),
        ("Please try again in 1m30s.", 90.0),
        ("Please try again in 2m0s.", 120.0),
        ("Please try again in 2m.", 120.0),
        ("Please try again in a while.", None),
        ("Please try again in .", None),
        ("", None),
    ],
)
def test_how_long_a_limit_lasts_stands_in_its_message(words: str, seconds: float | None) -> None:
    found = classify({"type": "tokens", "code": "rate_limit_exceeded", "message": words})
    assert (found.kind, found.retry_after_s) == (Kind.RATE_LIMITED, pytest.approx(seconds) if seconds else seconds)


def test_the_text_is_for_a_log_line() -> None:
    assert classify({"code": "invalid_value", "type": INVALID, "message": "No."}).text == "invalid_value: No."
    assert classify({"type": INVALID, "message": "No."}).text == "invalid_request_error: No."
    assert classify({}).text == "no reason given"
    assert len(classify({"message": "x" * 5000}).text) == trouble.LONGEST_TEXT


def body(code: str, message: str = "", category: str = INVALID) -> bytes:
    return json.dumps({"error": {"type": category, "code": code, "message": message}}).encode()


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        *((status, b"", kind) for status, kind in BY_STATUS.items()),
        *((status, b"", Kind.REFUSED) for status in (302, 400, 401, 403, 404, 426)),
        *((status, b"<html>", Kind.UNAVAILABLE) for status in (500, 502, 503, 504, 529)),
        (401, body("invalid_api_key"), Kind.REFUSED),
        (403, body("forbidden"), Kind.REFUSED),
        (429, body("rate_limit_exceeded"), Kind.RATE_LIMITED),
        (429, body("insufficient_quota"), Kind.REFUSED),
        (400, body("session_expired"), Kind.EXPIRED),
        (503, body("invalid_api_key"), Kind.UNAVAILABLE),
        *((429, junk, Kind.RATE_LIMITED) for junk in (b"[]", b'{"error": "no"}', b"\xff", b"[" * 100_000)),
    ],
)
def test_refused_upgrades(status: int, answer: bytes, kind: Kind) -> None:
    found = trouble.refused_upgrade(status, answer)
    assert found.kind is kind
    assert found.text.startswith(f"HTTP {status}")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_a_refusal_may_say_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    for status in (429, 503):
        assert trouble.refused_upgrade(status, b"", headers).retry_after_s == seconds
    assert trouble.refused_upgrade(401, b"", headers).retry_after_s is None


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1008, 1009, 1011, 1012, 1013, 3000, 4000])
def test_every_end_without_a_known_reason_may_be_tried_again(code: int) -> None:
    for reason in ("", "going away", "internal_error.", "invalid_request_error.something"):
        assert trouble.closed(code, reason).kind is Kind.UNAVAILABLE


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("invalid_request_error.invalid_api_key", Kind.REFUSED),
        ("invalid_request_error.model_not_found", Kind.REFUSED),
        ("invalid_request_error.session_expired", Kind.EXPIRED),
        ("session_expired", Kind.EXPIRED),
    ],
)
def test_a_close_may_name_its_cause(reason: str, kind: Kind) -> None:
    found = trouble.closed(3000, reason)
    assert (found.kind, found.text) == (kind, f"closed with 3000: {reason}")


def test_the_complaint_before_a_close_explains_it() -> None:
    expired = trouble.closed(1001, "", Trouble(Kind.EXPIRED, "session_expired: 60 minutes"))
    assert expired == Trouble(Kind.EXPIRED, "closed with 1001, after session_expired: 60 minutes")
    limited = trouble.closed(1000, "", Trouble(Kind.RATE_LIMITED, "slow down", 3.0))
    assert (limited.kind, limited.retry_after_s) == (Kind.RATE_LIMITED, 3.0)
    assert trouble.closed(1000, "", Trouble(Kind.HARMLESS, "nothing")).kind is Kind.UNAVAILABLE


@given(st.dictionaries(st.sampled_from(["type", "code", "message"]), st.text(max_size=60)), st.text(max_size=60))
def test_any_words_are_understood_as_something(error: dict[str, str], reason: str) -> None:
    assert isinstance(classify(error).kind, Kind)
    assert isinstance(trouble.closed(1006, reason).kind, Kind)
