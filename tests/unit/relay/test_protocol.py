from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from pydantic import BaseModel

from tests.standins.realtime.sdk import check_sent
from trunkline.audio import g711
from trunkline.errors import ClientError, ProviderError
from trunkline.tenants import RelaySettings, SemanticVad, ServerVad, Tenant, Transcription, TurnSettings, Updatable
from workers.backend import Item, ToolCall
from workers.relay import protocol
from workers.relay.protocol import PCM, PCMU, Event, format_for

CLIENT_EVENTS: dict[str, type[BaseModel]] = {
    get_args(event.model_fields["type"].annotation)[0]: event for event in get_args(get_args(RealtimeClientEvent)[0])
}
TOOL = {"type": "function", "name": "find_slot", "description": "d", "parameters": {"type": "object"}}
ALL_UPDATABLE: tuple[Updatable, ...] = get_args(Updatable)


def checked(event: Event) -> Event:
    """The event, if the SDK knows it, each of its fields and its values."""
    check_sent(CLIENT_EVENTS[event["type"]], event, event["type"])
    return event


def tenant(**relay: Any) -> Tenant:
    return Tenant(id="acme", prompt="Be brief.", relay=RelaySettings(**relay))


def test_it_is_pure() -> None:
    """Also of what the import contract leaves to mypy alone."""
    code = "import sys, workers.relay.protocol; print({'asyncio', 'redis', 'socket'} & set(sys.modules) or 'pure')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "pure"


# --- audio


def test_a_telephones_rate_travels_as_mu_law_and_every_other_as_pcm_at_24_khz() -> None:
    assert format_for(8000) is PCMU
    assert all(format_for(rate_hz) is PCM for rate_hz in (16_000, 24_000, 48_000))
    assert dict(PCMU.wire) == {"type": "audio/pcmu"}
    assert dict(PCM.wire) == {"type": "audio/pcm", "rate": PCM.rate_hz}


def test_pcm_goes_through_as_it_is_and_mu_law_by_its_table() -> None:
    pcm = bytes(range(200)) * 2
    assert base64.b64decode(PCM.encode(pcm)) == PCM.decode(PCM.encode(pcm)) == pcm
    assert base64.b64decode(PCMU.encode(pcm)) == g711.pcm_to_ulaw(pcm)
    assert PCMU.decode(PCMU.encode(pcm)) == g711.ulaw_to_pcm(g711.pcm_to_ulaw(pcm))


@pytest.mark.parametrize("audio", ["no base64!", "AAA", "AAAA\n", "AAAAAAA=", "é"])
def test_audio_that_cannot_be_read_is_the_models_fault(audio: str) -> None:
    with pytest.raises(ProviderError, match="audio that cannot be read"):
        PCM.decode(audio if audio != "AAAAAAA=" else base64.b64encode(b"odd").decode())


# --- configuration


@pytest.mark.parametrize(
    "relay",
    [
        {},
        {"turn_detection": SemanticVad(type="semantic_vad", eagerness="low")},
        {"turn_detection": ServerVad(type="server_vad", threshold=0.7, idle_timeout_ms=8000)},
        {"turn_detection": None, "transcription": None},
        {"transcription": Transcription(language="de", prompt="Names of dentists")},
        {"noise_reduction": "near_field", "speed": 1.2, "voice": "cedar"},
        {"voice": "voice_123", "max_output_tokens": 900, "reasoning_effort": "low"},
    ],
)
@pytest.mark.parametrize("audio", [PCM, PCMU, None])
def test_every_tenants_settings_are_what_the_sdk_knows(
    relay: dict[str, Any], audio: protocol.AudioFormat | None
) -> None:
    made = protocol.session_update(tenant(**relay), audio, [TOOL])
    checked(made)
    formats = [made["session"]["audio"][side].get("format") for side in ("input", "output")]
    assert formats == [audio and audio.wire] * 2, "where audio does not travel in events, the API takes no format"


def test_a_session_is_configured_whole() -> None:
    """Nothing is left to the vendor's defaults that a tenant can set: those differ between its documents."""
    made = protocol.session_update(
        tenant(reasoning_effort="low", noise_reduction="far_field", voice="voice_9"), PCMU, [TOOL]
    )
    assert made["session"] == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "Be brief.",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "noise_reduction": {"type": "far_field"},
                "transcription": {"model": "gpt-transcribe"},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcmu"}, "voice": {"id": "voice_9"}, "speed": 1.0},
        },
        "tools": [TOOL],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "truncation": "auto",
        "reasoning": {"effort": "low"},
    }


def test_a_model_that_does_not_reason_is_not_asked_to() -> None:
    assert "reasoning" not in protocol.session_update(tenant(), PCM)["session"]


@pytest.mark.parametrize(
    ("allowed", "noticed_by", "interrupts"),
    [(True, "model", True), (True, "local", False), (False, "model", False), (False, "local", False)],
)
@pytest.mark.parametrize("detection", [ServerVad(type="server_vad"), SemanticVad(type="semantic_vad")])
def test_the_model_interrupts_itself_only_where_it_is_the_one_to_notice(
    detection: ServerVad | SemanticVad, allowed: bool, noticed_by: Any, interrupts: bool
) -> None:
    relay = RelaySettings(barge_in=noticed_by, turn_detection=detection)
    acme = Tenant(id="acme", turn=TurnSettings(barge_in=allowed), relay=relay)
    made = protocol.session_update(acme, PCM)["session"]["audio"]["input"]["turn_detection"]
    assert (made["create_response"], made["interrupt_response"]) == (True, interrupts)


# --- what clients may change


@pytest.mark.parametrize(
    ("flat", "in_place"),
    [
        ({"instructions": "Sing."}, {"instructions": "Sing."}),
        ({"voice": "cedar"}, {"audio": {"output": {"voice": "cedar"}}}),
        ({"speed": 1.25}, {"audio": {"output": {"speed": 1.25}}}),
        ({"speed": 1}, {"audio": {"output": {"speed": 1}}}),
        ({"max_output_tokens": 100}, {"max_output_tokens": 100}),
        ({"transcription": None}, {"audio": {"input": {"transcription": None}}}),
        (
            {"transcription": {"language": "de"}},
            {"audio": {"input": {"transcription": {"model": "gpt-transcribe", "language": "de"}}}},
        ),
        ({"turn_detection": None}, {"audio": {"input": {"turn_detection": None}}}),
        (
            {"turn_detection": {"type": "semantic_vad"}},
            {
                "audio": {
                    "input": {
                        "turn_detection": {
                            "type": "semantic_vad",
                            "eagerness": "auto",
                            "create_response": True,
                            "interrupt_response": True,
                        }
                    }
                }
            },
        ),
    ],
)
def test_a_client_writes_a_field_flat_or_in_its_place(flat: dict[str, Any], in_place: dict[str, Any]) -> None:
    acme = tenant(client_may_update=ALL_UPDATABLE)
    changed, event = protocol.client_update(flat, acme)
    assert checked(event)["session"] == {"type": "realtime", **in_place}
    if "turn_detection" not in flat:  # who interrupts is not for clients to say
        assert protocol.client_update({"type": "realtime", **in_place}, acme) == (changed, event)


def test_a_later_session_is_configured_as_the_client_left_this_one() -> None:
    acme = tenant(client_may_update=ALL_UPDATABLE)
    changed, event = protocol.client_update({"instructions": "Sing.", "turn_detection": {"threshold": 0.9}}, acme)
    later = protocol.session_update(changed, PCM)["session"]
    assert later["instructions"] == "Sing."
    assert later["audio"]["input"]["turn_detection"] == event["session"]["audio"]["input"]["turn_detection"]
    assert later["audio"]["input"]["turn_detection"]["threshold"] == 0.9
    assert later["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500  # not named, not changed
    assert protocol.session_update(acme, PCM)["session"]["instructions"] == "Be brief."


def test_a_clients_turn_detection_leaves_interrupting_to_the_tenant() -> None:
    acme = tenant(client_may_update=("turn_detection",), barge_in="local")
    _, event = protocol.client_update({"turn_detection": {"type": "semantic_vad"}}, acme)
    assert event["session"]["audio"]["input"]["turn_detection"]["interrupt_response"] is False


@pytest.mark.parametrize(
    ("session", "named"),
    [
        ({"instructions": "Sing."}, "session.instructions"),
        ({"voice": "cedar", "speed": 1.1}, "session.speed"),
        ({"audio.output.voice": "cedar"}, "session.audio.output.voice"),
        ({"audio": {"output.voice": "cedar"}}, "session.audio.output.voice"),
        ({"audio": {"output": {"speed": 1.1}}}, "session.speed"),
        ({"tools": []}, "session.tools"),
        ({"audio": {"input": {"format": {"type": "audio/pcm"}}}}, "session.audio.input.format"),
        ({"audio": []}, "session.audio "),
        ({"type": "transcription"}, "session.type"),
        ({"model": "gpt-huge"}, "session.model"),
        ({"x" * 100_000: 1}, "session.xxx"),
    ],
)
def test_what_a_tenant_keeps_for_itself_is_refused_by_name(session: dict[str, Any], named: str) -> None:
    with pytest.raises(ClientError) as refused:
        protocol.client_update(session, tenant(client_may_update=("voice", "max_output_tokens")))
    assert refused.value.code == "not_allowed"
    assert named in refused.value.message
    assert len(refused.value.message) < 200
    assert refused.value.hint == "you may change: voice, max_output_tokens"
    assert not refused.value.fatal


def test_a_client_that_may_change_nothing_is_told_so() -> None:
    with pytest.raises(ClientError) as refused:
        protocol.client_update({"voice": "cedar"}, tenant())
    assert (refused.value.code, refused.value.hint) == ("not_allowed", "you may change: nothing")


@pytest.mark.parametrize(
    ("session", "said"),
    [
        ({"speed": 9}, "speed: "),
        ({"speed": "fast"}, "speed: "),
        ({"speed": "1.1"}, "speed: "),
        ({"voice": 7}, "voice: "),
        ({"voice": ""}, "voice: "),
        ({"instructions": None}, "instructions: "),
        ({"instructions": "x" * 32_769}, "instructions: "),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": True}, "max_output_tokens"),
        ({"turn_detection": {"threshold": 2}}, "turn_detection.threshold: "),
        ({"turn_detection": {"create_response": False}}, "turn_detection.create_response: "),
        ({"turn_detection": {"type": "psychic_vad"}}, "turn_detection: "),
        ({"turn_detection": "none"}, "turn_detection"),
        ({"transcription": {"colour": "red"}}, "transcription.colour: "),
        ({"voice": "cedar", "audio": {"output": {"voice": "cedar"}}}, "session has voice twice"),
        ({}, "session changes nothing"),
        ({"type": "realtime", "audio": {}}, "session changes nothing"),
    ],
)
def test_wrong_values_are_refused_by_name(session: dict[str, Any], said: str) -> None:
    with pytest.raises(ClientError) as refused:
        protocol.client_update(session, tenant(client_may_update=ALL_UPDATABLE))
    assert refused.value.code == "bad_session"
    assert refused.value.message.startswith(said)


_KEYS = st.sampled_from(["type", "audio", "input", "output", "format", *ALL_UPDATABLE, "threshold"]) | st.text(
    max_size=5
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_KEYS, _JSON, max_size=4))
def test_whatever_a_client_writes_is_understood_or_refused(session: dict[str, Any]) -> None:
    try:
        _, event = protocol.client_update(session, tenant(client_may_update=ALL_UPDATABLE))
    except ClientError:
        return
    checked(event)


# --- items and commands


def test_a_conversation_is_put_back_item_by_item() -> None:
    call = ToolCall("call_7Q", "find_slot", '{"day":"Tue"}')
    conversation = [
        Item("user", "Is Tuesday free?", 1),
        Item("tool", '{"slots":[]}', 2, call),
        Item("assistant", "It is not.", 2),
        Item("user", "", 3),
        Item("assistant", "", 4),
        Item("tool", "", 4),
        Item("tool", "a note", 4),
    ]
    made = [checked(event)["item"] for each in conversation for event in protocol.item(each)]
    assert made == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Is Tuesday free?"}]},
        {"type": "function_call", "call_id": "call_7Q", "name": "find_slot", "arguments": '{"day":"Tue"}'},
        {"type": "function_call_output", "call_id": "call_7Q", "output": '{"slots":[]}'},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is not."}]},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "a note"}]},
    ]


def test_a_tool_that_answers_nothing_still_answers() -> None:
    made = protocol.item(Item("tool", "", 2, ToolCall("call_1", "note", "{}")))
    assert [event["item"]["type"] for event in made] == ["function_call", "function_call_output"]


@pytest.mark.parametrize(
    "event",
    [
        protocol.user_text("Hello"),
        protocol.tool_output("call_1", "{}"),
        protocol.truncate("item_A1", 0, 1480),
        protocol.respond(),
        protocol.respond("Say hello."),
        protocol.cancel(),
        protocol.cancel("resp_1"),
        protocol.commit(),
        json.loads(protocol.append(PCM.encode(bytes(960)))),
    ],
    ids=lambda event: event["type"],
)
def test_every_command_is_what_the_sdk_knows(event: Event) -> None:
    checked(event)


def test_an_append_is_written_as_any_other_event_would_be() -> None:
    audio = PCMU.encode(bytes(320))
    assert json.loads(protocol.append(audio)) == {"type": "input_audio_buffer.append", "audio": audio}


def test_a_plain_respond_leaves_everything_to_the_session() -> None:
    assert protocol.respond() == {"type": "response.create"}
    assert protocol.respond("Say hello.")["response"] == {"instructions": "Say hello."}


# --- server events


def test_an_event_is_read_as_json_reads_it() -> None:
    event = {"type": "response.output_audio.delta", "delta": PCM.encode(bytes(9600)), "n": [1, 2.5, None, "é 👋"]}
    assert protocol.parse(json.dumps(event).encode()) == event
    assert protocol.parse(json.dumps(event, ensure_ascii=False).encode()) == event


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"type": "response.output_aud',
        b"\x00\xff\x00\xff",
        b"[1, 2, 3]",
        b'"session.created"',
        b"null",
        b"{}",
        b'{"type": null}',
        b'{"type": ["session.created"]}',
        b'{"type": "x", "response": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type": "x", "a": ' + b"9" * 5000 + b"}",
        b'{"type": "x", "delta": "\\ud83d"}',
    ],
    ids=lambda data: data[:24].decode(errors="replace"),
)
def test_what_is_no_event_is_the_models_fault(data: bytes) -> None:
    with pytest.raises(ProviderError) as refused:
        protocol.parse(data)
    assert refused.value.retryable


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        event = protocol.parse(data)
    except ProviderError:
        return
    assert isinstance(event["type"], str)
