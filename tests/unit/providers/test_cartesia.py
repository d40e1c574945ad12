"""Cartesia's messages: whatever comes, it is an event, nothing, or an error of the vendor's."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import ProviderError
from workers.providers.cartesia import protocol
from workers.providers.cartesia.transcript import InkText

anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
kinds = st.sampled_from(["chunk", "timestamps", "flush_done", "done", "error", "transcript", "new"]) | anything
fields = "context_id data word_timestamps status_code error_code text is_final".split()
events = st.fixed_dictionaries({"type": kinds}, optional=dict.fromkeys(fields, anything))


@given(event=events | anything)
def test_any_json_is_an_event_or_an_error(event: object) -> None:
    message = json.dumps(event).encode()
    with contextlib.suppress(ProviderError):
        said = protocol.parse(message)
        assert said is None or isinstance(said, protocol.Event)
    with contextlib.suppress(ProviderError):
        InkText().take(message)


@given(message=st.binary(max_size=64))
def test_any_bytes_are_an_error(message: bytes) -> None:
    try:
        json.loads(message)
    except ValueError:
        with pytest.raises(ProviderError, match="cannot be read"):
            protocol.parse(message)


def test_nested_beyond_measure() -> None:
    with pytest.raises(ProviderError, match="cannot be read"):
        protocol.parse(b"[" * 100_000)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        *[("AAA", None), (3, None), ("AAAA", 4)],
        ("AAAA", {"words": ["a"], "start": [], "end": []}),
        ("AAAA", {"words": ["a"], "start": [math.nan], "end": [1.0]}),
        ("AAAA", {"words": ["a"], "start": [0.0], "end": [math.inf]}),
        ("AAAA", {"words": ["a"], "start": [0.0], "end": [1e306]}),
        ("AAAA", {"words": ["a"], "start": [10**400], "end": [1.0]}),
    ],
)
def test_a_wrong_event_is_its_contexts_affair(data: object, words: object) -> None:
    kind = {"type": "chunk", "data": data} if words is None else {"type": "timestamps", "word_timestamps": words}
    said = protocol.parse(json.dumps({**kind, "context_id": "t-17"}).encode())
    assert isinstance(said, protocol.Failed)
    assert said.context_id == "t-17"
    assert said.error.retryable


@pytest.mark.parametrize(
    ("status", "said", "retryable", "wait_s"),
    [
        (429, {"error_code": "concurrency_limited"}, True, 3.0),
        (429, {"error_code": "quota_exceeded"}, False, None),
        (402, {}, False, None),
        (503, {"title": "Down"}, True, 3.0),
        (400, {"message": "voice not found"}, False, None),
    ],
)
def test_what_a_refusal_means(status: int, said: dict[str, str], retryable: bool, wait_s: float | None) -> None:
    error = protocol.refused_upgrade(status, json.dumps(said).encode(), {"retry-after": "3"})
    assert (error.retryable, error.retry_after_s) == (retryable, wait_s)
    assert str(error).startswith(f"cartesia: HTTP {status}")
    assert all(value in str(error) for value in said.values())


def test_a_refusal_that_is_no_json() -> None:
    assert "Bad Gateway" in str(protocol.refused_upgrade(502, b"<h1>Bad Gateway</h1>", {}))
