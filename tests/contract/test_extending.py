"""docs/extending.md: its provider is one file, passes the suites that every provider must, and holds a conversation.

The vendor is a stand-in that speaks by eSpeak and hears by PocketSphinx.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

pytest.importorskip("espeakng_loader")
pytest.importorskip("pocketsphinx")

from tests.contract import test_speech_to_text, test_text_to_speech
from tests.contract.speech import heard, spoken
from tests.standins import tones
from tests.standins.http import serve
from tests.standins.session import Edge, Say, StandInSession, Voice
from tests.standins.toned import ToneVad
from tests.standins.voices import RATE_HZ, ScriptedLlm
from trunkline.audio.wav import parse_wav
from trunkline.errors import ProviderError, SettingsError
from trunkline.tenants import Providers, Stage, Tenant
from workers import providers as package
from workers.cascade.runner import Cascade
from workers.cascade.stages import Stages
from workers.providers import registry
from workers.providers.base import SpeechToText, TextToSpeech

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
QUESTION = "what is the time"
ANSWER = "It is ten o'clock."


class Acme:
    """The vendor."""

    key = "key"

    def __init__(self, ears: SpeechToText) -> None:
        self.hears_tones = False
        """And not speech: a recogniser takes seconds for speech in a telephone's quality."""
        self.voices: list[str] = []
        self._ears = ears

    def app(self) -> Starlette:
        pages = {"/v1/speech": self._speak, "/v1/transcripts": self._hear}
        return Starlette(routes=[Route(path, page, methods=["POST"]) for path, page in pages.items()])

    async def _speak(self, request: Request) -> Response:
        wanted = await request.json()
        if request.headers["authorization"] != f"Bearer {self.key}":
            return JSONResponse({"error": "no such key"}, 401)
        self.voices.append(wanted["voice"])

        async def audio() -> AsyncIterator[bytes]:
            pcm = await spoken(wanted["text"], wanted["rate_hz"])
            for at in range(0, len(pcm), 999):
                yield pcm[at : at + 999]

        return StreamingResponse(audio())

    async def _hear(self, request: Request) -> Response:
        recording = parse_wav(await request.body())
        assert recording.rate_hz == self._ears.rate_hz
        text = tones.hear(*recording) if self.hears_tones else await heard(self._ears, recording.pcm)
        return JSONResponse({"text": text})


@pytest.fixture(scope="module")
def ears() -> Iterator[SpeechToText]:
    """They take seconds to start."""
    made = registry.speech_to_text(Stage(provider="pocketsphinx"))
    yield made
    asyncio.run(made.close())


@pytest.fixture
async def acme(ears: SpeechToText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Acme]:
    """The vendor, and the page's file in the package."""
    (tmp_path / "acme.py").write_text(block("python"), encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    vendor = Acme(ears)
    async with serve(vendor.app()) as url:
        monkeypatch.setenv("ACME_BASE_URL", url)
        monkeypatch.setenv("ACME_API_KEY", vendor.key)
        yield vendor
    sys.modules.pop("workers.providers.acme", None)


def block(language: str) -> str:
    """The first of the page."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture
async def speech(acme: Acme) -> AsyncIterator[TextToSpeech]:
    made = registry.text_to_speech(Stage.model_validate({"provider": "acme", "next_s": 30}))
    yield made
    await made.close()


@pytest.fixture
async def stt(acme: Acme) -> AsyncIterator[SpeechToText]:
    made = registry.speech_to_text(Stage.model_validate({"provider": "acme", "next_s": 30}))
    yield made
    await made.close()


def suite(module: ModuleType, fixture: str) -> list[Callable[[Any], Awaitable[None]]]:
    """What the suite holds every provider to."""
    tests = [test for name, test in vars(module).items() if name.startswith("test_")]
    return [test for test in tests if list(inspect.signature(test).parameters) == [fixture]]


@pytest.mark.parametrize("test", suite(test_text_to_speech, "speech"))
async def test_the_pages_provider_speaks(test: Callable[[Any], Awaitable[None]], speech: TextToSpeech) -> None:
    await test(speech)


@pytest.mark.parametrize("test", suite(test_speech_to_text, "stt"))
async def test_the_pages_provider_hears(test: Callable[[Any], Awaitable[None]], stt: SpeechToText) -> None:
    await test(stt)


def test_there_are_suites() -> None:
    assert min(len(suite(test_text_to_speech, "speech")), len(suite(test_speech_to_text, "stt"))) >= 5


async def test_the_pages_tenant_is_served(acme: Acme) -> None:
    stages = Providers.model_validate(yaml.safe_load(block("yaml"))["providers"])
    made = registry.Providers()
    speech = made.text_to_speech(stages.tts)
    assert [part async for part in speech.speak("Good day.")]
    assert acme.voices == ["oak"]
    assert "(de)" in made.speech_to_text(stages.stt).description
    await made.close()


def test_a_wrong_option_is_refused_with_the_right_ones(acme: Acme) -> None:
    with pytest.raises(SettingsError, match=r"'acme': colour: .*its options are: api_key, base_url, .*voice"):
        registry.text_to_speech(Stage.model_validate({"provider": "acme", "colour": "blue"}))


async def test_what_fails_is_told_apart(acme: Acme, speech: TextToSpeech, monkeypatch: pytest.MonkeyPatch) -> None:
    acme.key = "another"
    with pytest.raises(ProviderError, match=r"acme: HTTP 401: .*no such key") as refused:
        await anext(speech.speak("Good day."))
    assert (refused.value.retryable, refused.value.locked_out) == (False, True)
    monkeypatch.setenv("ACME_BASE_URL", "http://127.0.0.1:9")
    away = registry.text_to_speech(Stage(provider="acme"))
    with pytest.raises(ProviderError, match="acme: ConnectError") as unreachable:
        await anext(away.speak("Good day."))
    assert unreachable.value.retryable
    await away.close()


async def test_a_conversation_by_the_pages_provider(acme: Acme, speech: TextToSpeech, stt: SpeechToText) -> None:
    acme.hears_tones = True
    edge = Edge([Say(200, QUESTION)], 6000, Voice(lambda text, word_ms: tones.speak(text, RATE_HZ, word_ms), None))
    session = StandInSession(edge, Tenant(id="test"))
    cascade = Cascade(Stages(stt, ScriptedLlm({QUESTION: ANSWER}), speech), ToneVad)

    async def call() -> None:
        begun_s = asyncio.get_running_loop().time()
        for at_ms, message in edge.uplink:
            await asyncio.sleep(begun_s + at_ms / 1000 - asyncio.get_running_loop().time())
            session.deliver(message)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        playing = group.create_task(edge.play())
        group.create_task(call())
        await cascade.run(session)
        playing.cancel()
    assert [(item.role, item.text) for item in session.committed.items] == [("user", QUESTION), ("assistant", ANSWER)]
    [turn] = edge.turns.values()
    assert turn.played_ms == turn.received_ms > 500
    assert any(turn.audio)
