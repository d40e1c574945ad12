"""Calls of tools from fragments, and when to come back after a refusal."""

import pytest

from workers.providers.base import ToolCall
from workers.providers.calls import Calls
from workers.providers.refusals import retry_after_s


def test_fragments_of_two_calls_become_two_calls() -> None:
    calls = Calls()
    calls.add(1, "call_b", "second", None)
    calls.add(0, "call_a", "first", '{"day":')
    calls.add(1, None, None, '{"hour": 9}')
    calls.add(0, None, None, '"Tue"}')
    assert calls.whole() == [ToolCall("call_a", "first", '{"day":"Tue"}'), ToolCall("call_b", "second", '{"hour": 9}')]
    assert calls.whole() == [], "they are given once"


def test_a_call_without_arguments_has_an_empty_object_and_one_without_a_name_is_none() -> None:
    calls = Calls()
    calls.add(0, "call_a", "hang_up", "")
    calls.add(1, "call_b", None, "{}")
    assert calls.whole() == [ToolCall("call_a", "hang_up", "{}")]


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "Sat, 21 Nov 2026 13:00:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s
