from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.messages import (
    MAX_NAME,
    MAX_OUTPUT_BYTES,
    MAX_SESSION_BYTES,
    MAX_TEXT,
    Cancel,
    Commit,
    Played,
    SessionUpdate,
    Stop,
    Text,
    ToolOutput,
    compose,
    compose_error,
)
from adapters.websocket.protocol import Audio, Start, parse_binary, parse_text
from trunkline.bus import codec
from trunkline.bus.messages import ClientEvent
from trunkline.errors import ClientError


def say(**message: Any) -> str:
    return json.dumps(message)


@pytest.mark.parametrize(
    ("message", "meant"),
    [
        ({"type": "start"}, Start()),
        (
            {
                "type": "start",
                "tenant": "acme",
                "conversation_id": "c-1",
                "audio": {"rate_hz": 48000, "encoding": "base64"},
                "output": "mp3",
                "resume": "a.b.c",
                "received": {"turn": 3, "ms": 1240.0, "seq": 88},
            },
            Start("acme", "c-1", 48000, "base64", "mp3", "a.b.c", 3, 1240, 88),
        ),
        ({"type": "start", "audio": {"rate_hz": 8000.0}, "a key": "to come"}, Start(rate_hz=8000)),
        ({"type": "audio", "data": base64.b64encode(b"\x01\x02").decode()}, Audio(b"\x01\x02")),
        ({"type": "audio", "data": ""}, Audio(b"")),
        ({"type": "input_audio_buffer.commit"}, Commit()),
        ({"type": "response.cancel"}, Cancel()),
        ({"type": "text", "text": " Grüezi "}, Text("Grüezi")),
        ({"type": "text", "text": "x" * MAX_TEXT}, Text("x" * MAX_TEXT)),
        ({"type": "played", "turn": 2, "ms": 400.7}, Played(2, 400)),
        ({"type": "input_text", "text": "the same"}, Text("the same")),
        (
            {"type": "session.update", "session": {"instructions": "Deutsch, bitte.", "turn_detection": None}},
            SessionUpdate({"instructions": "Deutsch, bitte.", "turn_detection": None}),
        ),
        ({"type": "session.update", "session": {}}, SessionUpdate({})),
        ({"type": "function_call_output", "call_id": "c1", "output": "für dich"}, ToolOutput("c1", "für dich")),
        ({"type": "function_call_output", "call_id": "c1", "output": ""}, ToolOutput("c1", "")),
        ({"type": "function_call_output", "call_id": "c1", "output": None}, ToolOutput("c1", "null")),
        ({"type": "function_call_output", "call_id": "c1", "output": {"ä": [1]}}, ToolOutput("c1", '{"ä": [1]}')),
        (
            {"type": "function_call_output", "call_id": "c1", "output": "x" * MAX_OUTPUT_BYTES},
            ToolOutput("c1", "x" * MAX_OUTPUT_BYTES),
        ),
        ({"type": "stop"}, Stop()),
    ],
)
def test_what_a_client_says(message: dict[str, Any], meant: object) -> None:
    assert parse_text(json.dumps(message)) == meant


def test_audio_is_whole_samples() -> None:
    assert parse_binary(b"") == Audio(b"")
    assert parse_binary(b"\x01\x02") == Audio(b"\x01\x02")
    with pytest.raises(ClientError) as refused:
        parse_binary(b"\x01\x02\x03")
    assert (refused.value.code, refused.value.fatal) == ("odd_audio", False)
    assert "even number" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ('{"type":"start"} {"type":"stop"}', "bad_json"),
        ("null", "bad_json"),
        ("[]", "bad_json"),
        ('"start"', "bad_json"),
        ('{"type":"played","ms":NaN}', "bad_json"),
        ('{"type":"played","ms":Infinity}', "bad_json"),
        ('{"type":"played","ms":-Infinity}', "bad_json"),
        ('{"type":"played","ms":' + "9" * 5000 + "}", "bad_json"),
        ("[" * 100_000, "bad_json"),
        ('{"a":' * 20_000, "bad_json"),
        ("{}", "unknown_type"),
        (say(type="hello"), "unknown_type"),
        (say(type="Start"), "unknown_type"),
        (say(type=None), "unknown_type"),
        (say(type=["start"]), "unknown_type"),
        (say(type={"a": 1}), "unknown_type"),
        (say(type="session_ready"), "unknown_type"),
        (say(type="x" * 10_000), "unknown_type"),
        (say(type="audio"), "bad_audio"),
        (say(type="audio", data=5), "bad_audio"),
        (say(type="audio", data="AQ=I"), "bad_audio"),
        (say(type="audio", data="AQI"), "bad_audio"),
        (say(type="audio", data="AQ I="), "bad_audio"),
        (say(type="audio", data="caf\u00e9"), "bad_audio"),
        (say(type="audio", data="\ud800"), "bad_audio"),
        (say(type="audio", data="AQID"), "odd_audio"),
        (say(type="text"), "bad_text"),
        (say(type="text", text=5), "bad_text"),
        (say(type="text", text=" \n"), "bad_text"),
        (say(type="text", text="x" * (MAX_TEXT + 1)), "bad_text"),
        (say(type="text", text="half a pair: \ud83d"), "bad_text"),
        (say(type="played", turn=-1), "bad_field"),
        (say(type="played", turn="1"), "bad_field"),
        (say(type="played", turn=True), "bad_field"),
        (say(type="played", turn=2**53), "bad_field"),
        ('{"type":"played","ms":1e999}', "bad_field"),
        (say(type="start", tenant=""), "bad_field"),
        (say(type="start", tenant=5), "bad_field"),
        (say(type="start", tenant="x" * (MAX_NAME + 1)), "bad_field"),
        (say(type="start", tenant="a\nb"), "bad_field"),
        (say(type="start", conversation_id="\u0000"), "bad_field"),
        (say(type="start", resume="\ud800"), "bad_field"),
        (say(type="start", audio=[]), "bad_field"),
        (say(type="start", received="all"), "bad_field"),
        (say(type="start", received={"seq": -1}), "bad_field"),
        (say(type="input_text", text=5), "bad_text"),
        (say(type="session.update"), "bad_session"),
        (say(type="session.update", session="louder"), "bad_session"),
        (say(type="session.update", session={"speed": 2**70}), "bad_session"),
        (say(type="session.update", session={"voice": "\ud800"}), "bad_session"),
        (say(type="session.update", session={"\udfff": 1}), "bad_session"),
        (say(type="session.update", session={"instructions": "x" * MAX_SESSION_BYTES}), "bad_session"),
        ('{"type":"session.update","session":{"a":%s1%s}}' % ("[" * 600, "]" * 600), "bad_session"),  # noqa: UP031
        (say(type="function_call_output", output="5"), "bad_field"),
        (say(type="function_call_output", call_id=5, output="5"), "bad_field"),
        (say(type="function_call_output", call_id="c" * (MAX_NAME + 1), output="5"), "bad_field"),
        (say(type="function_call_output", call_id="c1"), "bad_output"),
        (say(type="function_call_output", call_id="c1", output="x" * (MAX_OUTPUT_BYTES + 1)), "bad_output"),
        (say(type="function_call_output", call_id="c1", output="ä" * (MAX_OUTPUT_BYTES // 2 + 1)), "bad_output"),
        (say(type="function_call_output", call_id="c1", output={"a": "\udc00"}), "bad_output"),
        ('{"type":"function_call_output","call_id":"c1","output":[1e999]}', "bad_output"),
    ],
    ids=lambda value: value[:50],
)
def test_what_is_wrong_is_said_and_forgiven(text: str, code: str) -> None:
    with pytest.raises(ClientError) as refused:
        parse_text(text)
    error = refused.value
    assert (error.code, error.fatal) == (code, False)
    assert error.hint
    assert len(error.message) < 200


@pytest.mark.parametrize(
    ("start", "code"),
    [
        ({"audio": {"rate_hz": 44100}}, "bad_rate"),
        ({"audio": {"rate_hz": "16000"}}, "bad_rate"),
        ({"audio": {"rate_hz": None}}, "bad_rate"),
        ({"audio": {"rate_hz": [16000]}}, "bad_rate"),
        ({"audio": {"rate_hz": 1e300}}, "bad_rate"),
        ({"audio": {"encoding": "opus"}}, "bad_field"),
        ({"audio": {"encoding": ["binary"]}}, "bad_field"),
        ({"output": "flac"}, "bad_field"),
        ({"output": {}}, "bad_field"),
    ],
)
def test_a_start_that_cannot_be_met_ends_the_link(start: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        parse_text(say(type="start", **start))
    assert (refused.value.code, refused.value.fatal) == (code, True)
    assert refused.value.hint


@pytest.mark.parametrize("depth", [*range(300, 1000, 50), 5_000, 60_000])
@pytest.mark.parametrize("place", ['{"type":%s}', '{"type":"start","output":%s}', '{"type":"text","text":%s}'])
def test_no_depth_breaks_the_parser(place: str, depth: int) -> None:
    with pytest.raises(ClientError):
        parse_text(place % ("[" * depth + "]" * depth))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KINDS = (
    "start audio input_audio_buffer.commit response.cancel text played session.update function_call_output stop"
).split()
KEYS = "tenant conversation_id audio output resume received data text turn ms session call_id".split()


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_json_is_understood_or_refused(kind: str, fields: dict[str, Any]) -> None:
    told = ""
    try:
        match parse_text(say(type=kind, **fields)):
            case SessionUpdate(session):
                codec.encode([ClientEvent("s", 0, "session_update", {"session": session})])
            case ToolOutput(call_id, output):
                codec.encode([ClientEvent("s", 0, "tool_output", {"call_id": call_id, "output": output})])
    except ClientError as error:
        told = compose_error(0, error)
    told.encode()


@given(st.text())
def test_any_text_is_understood_or_refused(text: str) -> None:
    with pytest.raises(ClientError):
        parse_text(text)


def test_messages_to_the_client() -> None:
    assert compose(7, "state", {"state": "grüezi"}) == '{"type":"state","seq":7,"state":"grüezi"}'
    error = ClientError("odd_audio", "half a sample", "send whole ones", fatal=True)
    assert json.loads(compose_error(9, error)) == {
        **{"type": "error", "seq": 9, "code": "odd_audio", "message": "half a sample"},
        **{"hint": "send whole ones", "fatal": True},
    }
