"""What Deepgram says, and the text that comes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline.errors import ProviderError, SettingsError
from workers.providers.deepgram import KEY_VARIABLE, speech_to_text
from workers.providers.deepgram.protocol import FluxText, NovaText, parse


def results(text: str, start: float, end: float, *, final: bool, confidence: float = 0.9) -> dict[str, Any]:
    alternatives = [{"transcript": text, "confidence": confidence, "words": []}]
    spoken = {"start": start, "duration": end - start, "is_final": final, "speech_final": False}
    return {"type": "Results", "channel_index": [0, 1], **spoken, "channel": {"alternatives": alternatives}}


def turn(event: str, text: str, until_s: float, index: int = 0) -> dict[str, Any]:
    words = [{"word": word, "confidence": 0.8} for word in text.split()]
    window = {"audio_window_start": 0.0, "audio_window_end": until_s}
    return {"type": "TurnInfo", "event": event, "turn_index": index, **window, "transcript": text, "words": words}


def test_nova_says_it_again_until_it_is_final() -> None:
    nova = NovaText()
    assert (nova.text, nova.confidence) == ("", None)
    assert nova.take(results("is tuesday", 0, 1, final=False))
    assert nova.text == "is tuesday"
    nova.take(results("Is Tuesday free", 0, 1.5, final=True, confidence=1.0))
    nova.take(results("at", 1.5, 1.8, final=False))
    assert nova.text == "Is Tuesday free at"
    assert nova.settled(1.5)
    assert not nova.settled(1.8)
    nova.take(results("", 1.5, 1.6, final=True, confidence=0.0))
    nova.take(results("at ten?", 1.6, 2.0, final=True, confidence=0.5))
    assert nova.text == "Is Tuesday free at ten?"
    assert nova.confidence == pytest.approx(0.8), "by the word"
    assert nova.settled(2.05), "less than a word may be missing"
    assert not nova.take({"type": "Metadata", "duration": 2.0})
    assert not nova.take({"type": "SpeechStarted", "timestamp": 0.1})


def test_where_nova_may_end() -> None:
    nova = NovaText()
    nova.take(results("hello", 0, 1, final=True))
    assert nova.complete(5.0, 1000), "it says that this is all"
    assert nova.complete(1.0, 1006), "all that was said is there"
    assert not nova.complete(5.0, 1006)
    assert not nova.complete(5.0, 1011)


def test_fluxs_turns_follow_each_other() -> None:
    flux = FluxText()
    assert not flux.take({"type": "Connected", "request_id": "r"})
    assert flux.take(turn("Update", "", 0.2))
    assert (flux.text, flux.confidence, flux.ended, flux.settled(0.0)) == ("", None, False, False)
    flux.take(turn("StartOfTurn", "Is", 0.5))
    flux.take(turn("Update", "Is Tuesday", 0.9))
    assert not flux.settled(0.8)
    flux.take(turn("EagerEndOfTurn", "Is Tuesday free?", 1.6))
    assert (flux.settled(1.4), flux.settled(1.8), flux.ended) == (True, False, False)
    flux.take(turn("TurnResumed", "Is Tuesday free at", 1.8))
    assert not flux.settled(1.4)
    flux.take(turn("EndOfTurn", "Is Tuesday free at ten?", 2.4))
    assert (flux.settled(2.0), flux.ended) == (True, True)
    flux.take(turn("Update", "", 2.8, index=1))
    assert flux.ended, "silence does not take it back"
    flux.take(turn("StartOfTurn", "Or", 3.2, index=1))
    assert (flux.text, flux.ended) == ("Is Tuesday free at ten? Or", False)
    assert flux.confidence == pytest.approx(0.8)


def test_a_turn_whose_start_was_never_told_takes_the_end_back() -> None:
    flux = FluxText()
    flux.take(turn("EndOfTurn", "yes", 1.0))
    flux.take(turn("Update", "and", 1.5, index=1))
    assert not flux.ended
    flux.take(turn("EndOfTurn", "and no", 2.0, index=1))
    flux.take(turn("Update", "", 2.2, index=2))
    flux.take(turn("Update", "but", 2.5, index=2))
    assert not flux.ended


def test_where_flux_may_end() -> None:
    flux = FluxText()
    flux.take(turn("Update", "hello", 1.0))
    assert flux.complete(5.0, 1005)
    assert flux.complete(1.2, 1006), "nothing was left to tell"
    assert not flux.complete(1.5, 1006)
    assert not flux.complete(1.0, 1011)


@pytest.mark.parametrize(
    ("text", "error", "retryable"),
    [
        (NovaText(), {"variant": "SchemaError", "description": "could not parse"}, False),
        (FluxText(), {"code": "INTERNAL_SERVER_ERROR", "description": "sorry"}, True),
        (FluxText(), {"code": "UNPARSABLE_CLIENT_MESSAGE", "description": "what?"}, False),
    ],
)
def test_errors(text: NovaText | FluxText, error: dict[str, str], retryable: bool) -> None:
    with pytest.raises(ProviderError, match=error["description"]) as caught:
        text.take(parse(json.dumps({"type": "Error", **error})))
    assert caught.value.retryable is retryable


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"model": "nova-3", "eot_threshold": 0.8, "language_hints": ["en"]}, "knows no eot_threshold, language_hints"),
        ({"model": "flux-general-en", "language": "en"}, "knows no language"),
        ({"mode": "nova-3"}, "mode.*its options are: model, api_key, url"),
        ({"url": "https://api.deepgram.com"}, "url"),
        ({"url": "wss://api.deepgram.com/v1/listen"}, "url"),
        ({"rate_hz": 44_100}, "rate_hz"),
        ({"model": "nova-3?language=xx"}, "model"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        speech_to_text({"api_key": "key", **options})


def test_a_key_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(SettingsError, match=KEY_VARIABLE):
        speech_to_text({})
    monkeypatch.setenv(KEY_VARIABLE, "key")
    assert speech_to_text({}).description == "Deepgram: model nova-3, as it is spoken"
