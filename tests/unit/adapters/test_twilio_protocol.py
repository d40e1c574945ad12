from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.twilio.protocol import (
    MAX_HOLE_MS,
    MAX_NAME,
    Connected,
    Dtmf,
    Heard,
    Mark,
    Media,
    Start,
    Stop,
    Timeline,
    Unknown,
    compose_clear,
    compose_mark,
    compose_media,
    is_sid,
    parse,
    parse_mark,
)
from trunkline.errors import ClientError

SID = "MZ0a"
FRAME = bytes(range(160))
FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}


def says(event: str, **body: Any) -> str:
    return json.dumps({"event": event, "sequenceNumber": "2", "streamSid": SID, event: body})


def start(**changes: Any) -> str:
    body = {
        "streamSid": SID,
        "accountSid": "AC0a",
        "callSid": "CA0a",
        "tracks": ["inbound"],
        "mediaFormat": FORMAT,
        "customParameters": {"token": "t"},
    }
    return says("start", **{**body, **changes})


def media(chunk: str = "1", timestamp: object = "5", **changes: Any) -> str:
    body = {"track": "inbound", "chunk": chunk, "timestamp": timestamp, "payload": base64.b64encode(FRAME).decode()}
    return says("media", **{**body, **changes})


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('{"event":"connected","protocol":"Call","version":"1.0.0"}', Connected()),
        (start(), Start(SID, "CA0a", "AC0a", {"token": "t"})),
        (media(), Media(1, 5, FRAME)),
        (media(payload=""), Media(1, 5, b"")),
        (media(track="outbound"), Unknown("media of track 'outbound'")),
        (says("dtmf", track="inbound_track", digit="#"), Dtmf("#")),
        (says("mark", name="0:1:100"), Mark("0:1:100")),
        (says("stop", accountSid="AC0a", callSid="CA0a"), Stop()),
        ('{"event":"weather","weather":{}}', Unknown("event 'weather'")),
        ('{"event":["media"]}', Unknown("event ['media']")),
        ("{}", Unknown("event None")),
    ],
)
def test_what_twilio_says(text: str, meant: object) -> None:
    assert parse(text) == meant
    if not isinstance(meant, Connected):
        assert parse(text, SID) == meant


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_json"),
        ("[" * 100_000, "bad_json"),
        ("[]", "bad_json"),
        ('{"event":NaN}', "bad_json"),
        ('{"event":"\\ud800"}', "bad_json"),
        (media(payload="/" * 10), "bad_media"),
        (media(payload="Grüezi"), "bad_media"),
        (media(payload=7), "bad_media"),
        (media(payload="/" * 4 * 2668), "bad_media"),
        (media(chunk="first"), "bad_counter"),
        (media(timestamp="soon"), "bad_counter"),
        (media(timestamp="-5"), "bad_counter"),
        (media(timestamp="\u0665"), "bad_counter"),
        (media(timestamp="9" * 4000), "bad_counter"),
        (media(timestamp=True), "bad_counter"),
        (media().replace('"sequenceNumber": "2"', '"sequenceNumber": "next"'), "bad_counter"),
        (says("dtmf", digit="12"), "bad_field"),
        (says("dtmf", digit="x"), "bad_field"),
        (says("mark", name=""), "bad_field"),
        (says("mark", name="x" * (MAX_NAME + 1)), "bad_field"),
        ('{"event":"media","media":[]}', "bad_field"),
        (start(callSid="CA 0a"), "bad_field"),
        (start(callSid="CA0a\n"), "bad_field"),
        (start(streamSid="MZ other"), "bad_field"),
        (start(streamSid="MZother"), "bad_field"),
        (start(customParameters={"token": 1}), "bad_field"),
        (start(mediaFormat={**FORMAT, "sampleRate": 16000}), "bad_format"),
        (start(mediaFormat={**FORMAT, "encoding": ["audio/x-mulaw"]}), "bad_format"),
    ],
)
def test_what_is_wrong_is_said(text: str, code: str) -> None:
    with pytest.raises(ClientError) as refused:
        parse(text)
    assert refused.value.code == code
    assert len(refused.value.message) < 300
    assert refused.value.hint


def test_a_message_of_another_stream_is_refused() -> None:
    with pytest.raises(ClientError) as refused:
        parse(media(), "MZother")
    assert (refused.value.code, refused.value.fatal) == ("wrong_stream", False)
    assert parse('{"event":"weather"}', "MZother") == Unknown("event 'weather'")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)
EVENTS = st.sampled_from(["connected", "start", "media", "dtmf", "mark", "stop", "weather"])
FIELDS = ["streamSid", "callSid", "accountSid", "mediaFormat", "customParameters", "track", "chunk", "timestamp"]
BODIES = st.dictionaries(st.sampled_from([*FIELDS, "payload", "digit", "name"]), JSON) | JSON


@given(st.text() | JSON.map(json.dumps), st.sampled_from(["", SID]))
def test_nothing_but_client_errors_for_any_text(text: str, stream_sid: str) -> None:
    with contextlib.suppress(ClientError):
        parse(text, stream_sid)


@given(EVENTS, BODIES, JSON)
def test_nothing_but_client_errors_for_any_body(event: str, body: object, number: object) -> None:
    text = json.dumps({"event": event, "streamSid": SID, "sequenceNumber": number, event: body})
    with contextlib.suppress(ClientError):
        parse(text, SID)


@given(st.binary(max_size=800))
def test_audio_goes_and_comes_as_it_is(ulaw: bytes) -> None:
    composed = json.loads(compose_media(SID, ulaw))
    assert set(composed) == {"event", "streamSid", "media"}, "Twilio closes the stream for others"
    assert set(composed["media"]) == {"payload"}
    back = parse(media(payload=composed["media"]["payload"]))
    assert isinstance(back, Media)
    assert back.ulaw == ulaw


def test_what_we_say_is_json() -> None:
    assert json.loads(compose_mark(SID, "0:1:100")) == {"event": "mark", "streamSid": SID, "mark": {"name": "0:1:100"}}
    assert json.loads(compose_clear(SID)) == {"event": "clear", "streamSid": SID}


@given(st.integers(0, 10**14), st.integers(0, 10**14), st.integers(0, 10**14))
def test_marks_say_what_was_heard(generation: int, turn: int, ms: int) -> None:
    assert parse_mark(Heard(generation, turn, ms).name) == Heard(generation, turn, ms)


@given(st.text())
def test_marks_of_others_say_nothing(name: str) -> None:
    heard = parse_mark(name)
    assert heard is None or len(name.split(":")) == 3


def test_sids() -> None:
    assert is_sid("CA0123456789abcdef")
    assert not any(is_sid(text) for text in ("", "a b", "a:b", "a\n", "é", "x" * 65, '"'))


def placed(*pieces: tuple[int, int]) -> list[int | None]:
    timeline = Timeline()
    return [timeline.place(Media(chunk, timestamp_ms, FRAME)) for chunk, timestamp_ms in pieces]


def test_the_first_piece_is_where_the_call_begins() -> None:
    assert placed((7, 4321), (8, 4341)) == [0, 0]


def test_a_hole_becomes_silence() -> None:
    assert placed((1, 0), (2, 20), (3, 140), (4, 160)) == [0, 0, 100, 0]


def test_jitter_is_no_hole_and_does_not_add_up() -> None:
    pieces = [(n + 1, n * 20 + (5, -4, 9, 0)[n % 4] + 10) for n in range(400)]
    assert placed(*pieces) == [0] * 400


def test_a_lost_frame_is_seen_through_the_jitter() -> None:
    assert placed((1, 3), (2, 20), (3, 66), (4, 78)) == [0, 0, 20, 0]


def test_what_comes_twice_or_late_is_dropped() -> None:
    timeline = Timeline()
    pieces = [(1, 0), (2, 20), (2, 20), (4, 60), (3, 40), (5, 80)]
    assert [timeline.place(Media(*piece, FRAME)) for piece in pieces] == [0, 0, None, 20, None, 0]
    assert (timeline.dropped, timeline.filled_ms, timeline.skipped_ms) == (2, 20, 0)


def test_a_hole_too_long_is_skipped_and_time_goes_on_after_it() -> None:
    timeline = Timeline()
    pieces = [(1, 0), (2, 20 + MAX_HOLE_MS), (3, 40 + MAX_HOLE_MS + 60_000), (4, 60 + MAX_HOLE_MS + 60_000)]
    assert [timeline.place(Media(*piece, FRAME)) for piece in pieces] == [0, MAX_HOLE_MS, 0, 0]
    assert (timeline.filled_ms, timeline.skipped_ms) == (MAX_HOLE_MS, 60_000)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10**6), st.integers(0, 400)), max_size=60))
def test_the_timeline_takes_anything_and_never_falls_behind(pieces: list[tuple[int, int, int]]) -> None:
    timeline = Timeline()
    newest = 0
    for chunk, timestamp_ms, length in pieces:
        silence_ms = timeline.place(Media(chunk, timestamp_ms, bytes(length)))
        assert (silence_ms is None) == (chunk <= newest)
        newest = max(newest, chunk)
        assert silence_ms is None or (silence_ms % 20 == 0 and 0 <= silence_ms <= MAX_HOLE_MS)
