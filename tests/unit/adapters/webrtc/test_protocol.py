from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.messages import (
    MAX_TEXT,
    Cancel,
    Commit,
    Played,
    SessionUpdate,
    Stop,
    Text,
    ToolOutput,
    compose_error,
    json_object,
)
from adapters.webrtc.protocol import ClearInput, Create, PlayedAt, Respond, event_id_of, parse_event, parse_plain
from trunkline.errors import ClientError


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": {"type": kind, **fields}}


def message(*content: Any, role: str = "user", **fields: Any) -> dict[str, Any]:
    return item("message", role=role, content=list(content), **fields)


def typed(text: Any) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


@pytest.mark.parametrize(
    ("event", "meant"),
    [
        ({"type": "session.update", "session": {"type": "realtime"}}, SessionUpdate({"type": "realtime"})),
        (message(typed("Hello")), Create(None, Text("Hello"))),
        (message(typed(" one "), typed("two"), id="mine"), Create("mine", Text("one \ntwo"))),
        (item("function_call_output", call_id="c1", output="5"), Create(None, ToolOutput("c1", "5"))),
        ({**message(typed("Hello")), "previous_item_id": None}, Create(None, Text("Hello"))),
        ({"type": "response.create"}, Respond()),
        ({"type": "response.create", "response": {"output_modalities": ["audio"], "metadata": {"a": "b"}}}, Respond()),
        ({"type": "response.create", "response": {"instructions": "", "conversation": "auto"}}, Respond()),
        ({"type": "response.cancel", "response_id": "resp_1"}, Cancel()),
        ({"type": "output_audio_buffer.clear"}, Cancel()),
        ({"type": "input_audio_buffer.commit", "event_id": "c-9"}, Commit()),
        ({"type": "input_audio_buffer.clear"}, ClearInput()),
        ({"text": "what the seed's page sends"}, Text("what the seed's page sends")),
        ({"type": "text", "text": "hi"}, Text("hi")),
        ({"type": "input_text", "text": "hi"}, Text("hi")),
        ({"type": "function_call_output", "call_id": "c1", "output": {"a": 1}}, ToolOutput("c1", '{"a": 1}')),
    ],
)
def test_what_is_said_on_oai_events(event: dict[str, Any], meant: object) -> None:
    assert parse_event(event) == meant


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({}, "unknown_type"),
        ({"type": "session.created"}, "unknown_type"),
        ({"type": ["text"], "text": "a"}, "unknown_type"),
        ({"text": 5}, "bad_text"),
        ({"text": "x" * (MAX_TEXT + 1)}, "bad_text"),
        ({"type": "session.update"}, "bad_session"),
        ({"type": "conversation.item.create"}, "unsupported"),
        ({"type": "conversation.item.create", "item": []}, "bad_field"),
        (item("mcp_approval_response"), "unsupported"),
        (item("function_call", call_id="c1", name="a", arguments="{}"), "unsupported"),
        (item("function_call_output", output="5"), "bad_field"),
        (message(), "bad_item"),
        (item("message", role="user", content="Hello"), "bad_item"),
        (message(typed("be brief"), role="system"), "unsupported"),
        (message({"type": "output_text", "text": "hi"}, role="assistant"), "unsupported"),
        (message({"type": "input_audio", "audio": "AAAA"}), "unsupported"),
        (message(typed(None)), "unsupported"),
        (message("Hello"), "unsupported"),
        (message(typed("  ")), "bad_text"),
        (message(typed("Hello"), id=5), "bad_field"),
        ({**message(typed("Hello")), "previous_item_id": "root"}, "unsupported"),
        ({"type": "response.create", "response": "now"}, "bad_field"),
        ({"type": "response.create", "response": {"instructions": "Say hi."}}, "unsupported"),
        ({"type": "response.create", "response": {"conversation": "none"}}, "unsupported"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "unsupported"),
        ({"type": "conversation.item.truncate", "item_id": "a", "audio_end_ms": 5}, "unsupported"),
        ({"type": "conversation.item.retrieve", "item_id": "a"}, "unsupported"),
        ({"type": "conversation.item.delete", "item_id": "a"}, "unsupported"),
    ],
)
def test_what_is_wrong_on_oai_events(event: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        parse_event(event)
    assert (refused.value.code, refused.value.fatal) == (code, False)
    assert refused.value.hint
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"type": "played", "rtp_timestamp": 2**32 - 1}, PlayedAt(2**32 - 1)),
        ({"type": "played", "rtp_timestamp": 0}, PlayedAt(0)),
        ({"type": "played", "turn": 2, "ms": 400}, Played(2, 400)),
        ({"type": "text", "text": "hi"}, Text("hi")),
        ({"type": "stop"}, Stop()),
    ],
)
def test_what_is_said_on_trunkline(said: dict[str, Any], meant: object) -> None:
    assert parse_plain(json.dumps(said)) == meant


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"type": "start"}, "unknown_type"),
        ({"type": "audio", "data": "AAAA"}, "unknown_type"),
        ({"type": "played", "rtp_timestamp": 2**32}, "bad_field"),
        ({"type": "played", "rtp_timestamp": -1}, "bad_field"),
        ({"type": "played", "rtp_timestamp": True}, "bad_field"),
        ({"type": "played", "rtp_timestamp": None}, "bad_field"),
    ],
)
def test_what_is_wrong_on_trunkline(said: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        parse_plain(json.dumps(said))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("event_id", "known"),
    [("e1", "e1"), (None, None), ("", None), (5, None), ("x" * 129, None), ("a\nb", None), ("\ud800", None)],
)
def test_only_a_short_text_names_an_event(event_id: Any, known: str | None) -> None:
    assert event_id_of({"event_id": event_id}) == known


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ITEMS = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "function_call_output"])},
    optional={name: JSON for name in ("id", "call_id", "output", "role", "content")},
)
FIELDS = {name: JSON for name in ("session", "text", "call_id", "output", "response", "event_id", "previous_item_id")}
KINDS = (
    "session.update conversation.item.create response.create response.cancel input_audio_buffer.clear text "
    "function_call_output input_audio_buffer.append"
).split()


@given(st.fixed_dictionaries({"type": st.sampled_from(KINDS)}, optional={**FIELDS, "item": ITEMS | JSON}))
def test_any_event_is_understood_or_refused(event: dict[str, Any]) -> None:
    told = ""
    try:
        read = json_object(json.dumps(event))
        told = event_id_of(read) or ""
        parse_event(read)
    except ClientError as error:
        told += compose_error(0, error)
    told.encode()
