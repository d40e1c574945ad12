"""The Deepgram stand-in speaks the protocol of PROTOCOLS section 4: the official SDK is its client."""

from __future__ import annotations

import asyncio
import importlib
import warnings
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.standins import tones
from tests.standins.deepgram import Deepgram, Refuse

RATE_HZ = 16_000
CHUNK_BYTES = RATE_HZ * 80 // 1000 * 2
PATIENCE_S = 15.0

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""The SDK stands on what websockets is about to drop."""


def speech(text: str, silence_ms: int = 0) -> bytes:
    return tones.speak(text, RATE_HZ) + bytes(RATE_HZ * silence_ms // 1000 * 2)


@pytest.fixture
def sdk() -> Any:
    """A maker of the SDK's clients."""
    pytest.importorskip("deepgram")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        package = importlib.import_module("deepgram")
        environment = importlib.import_module("deepgram.environment").DeepgramClientEnvironment

    def client(standin: Deepgram) -> Any:
        http = standin.url.replace("ws://", "http://")
        here = environment(base=http, production=standin.url, agent=standin.url, agent_rest=http)
        return package.AsyncDeepgramClient(api_key="key", environment=here)

    return client


async def received(socket: Any) -> list[Any]:
    """All there is until it hangs up."""
    messages = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                messages.append(await socket.recv())
    except ConnectionClosed:
        return messages


async def test_the_sdk_has_nova(sdk: Any) -> None:
    types = importlib.import_module("deepgram.listen.v1.types")
    chosen = {"encoding": "linear16", "sample_rate": RATE_HZ, "interim_results": True, "endpointing": False}
    async with Deepgram() as standin, sdk(standin).listen.v1.connect(model="nova-3", **chosen) as socket:
        await socket.send_keep_alive()
        for at in range(0, len(pcm := speech("hello my name is ada")), CHUNK_BYTES):
            await socket.send_media(pcm[at : at + CHUNK_BYTES])
        await socket.send_finalize()
        await socket.send_finalize()  # not answered: nothing is left
        await socket.send_media(speech("goodbye"))
        await socket.send_close_stream()
        *results, metadata = await received(socket)
    assert all(type(result) is types.ListenV1Results for result in results)
    assert type(metadata) is types.ListenV1Metadata
    finals = [result for result in results if result.is_final]
    assert [each.channel.alternatives[0].transcript for each in finals] == ["hello my name is ada", "goodbye"]
    assert [each.from_finalize for each in finals] == [True, False]
    assert finals[0].duration == pytest.approx(1.0)
    assert finals[1].start == pytest.approx(1.0)
    assert finals[0].channel.alternatives[0].words[1].word == "my"
    assert len(results) > 3, "and there were interim ones"
    assert standin.streams[0].kinds == ["KeepAlive", "Finalize", "Finalize", "CloseStream"]


async def test_the_sdk_has_novas_endpointing(sdk: Any) -> None:
    chosen = {"encoding": "linear16", "sample_rate": RATE_HZ, "endpointing": 300}
    async with Deepgram() as standin, sdk(standin).listen.v1.connect(model="nova-3", **chosen) as socket:
        await socket.send_media(speech("hello", silence_ms=300))
        result = await asyncio.wait_for(socket.recv(), PATIENCE_S)
    assert result.speech_final
    assert result.channel.alternatives[0].transcript == "hello"


async def test_the_sdk_has_flux(sdk: Any) -> None:
    types = importlib.import_module("deepgram.listen.v2.types")
    chosen = {"encoding": "linear16", "sample_rate": RATE_HZ, "eager_eot_threshold": 0.4, "eot_threshold": 0.8}
    async with Deepgram() as standin, sdk(standin).listen.v2.connect(model="flux-general-en", **chosen) as socket:
        said = [speech("hello", 320), speech("my name", 480), speech("goodbye"), speech("queen")]
        for pcm in said[:3]:
            await socket.send_media(pcm)
        await socket.send_force_end_turn()
        await socket.send_media(said[3])
        await socket.send_close_stream()
        connected, *turns = [await asyncio.wait_for(socket.recv(), PATIENCE_S)]
        turns += await received(socket)
    assert type(connected) is types.ListenV2Connected
    assert all(type(turn) is types.ListenV2TurnInfo for turn in turns)
    events = [(turn.event, turn.transcript, turn.trigger) for turn in turns if turn.event != "Update"]
    assert [event for event, _, _ in events[:5]] == [
        "StartOfTurn",
        "EagerEndOfTurn",
        "TurnResumed",
        "EagerEndOfTurn",
        "EndOfTurn",
    ]
    assert events[4][1:] == ("hello my name", "model")
    assert ("EndOfTurn", "goodbye", "manual") in events
    assert (turns[-1].event, turns[-1].transcript, turns[-1].turn_index) == ("Update", "queen", 2)
    assert [turn.sequence_id for turn in turns] == list(range(1, len(turns) + 1))


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_the_sdk_is_refused(sdk: Any, status: int) -> None:
    refused = importlib.import_module("deepgram.core.api_error").ApiError
    async with Deepgram() as standin:
        standin.inject(Refuse(status))
        with pytest.raises(refused) as caught:
            async with sdk(standin).listen.v1.connect(model="nova-3", encoding="linear16", sample_rate=RATE_HZ):
                pass
    assert caught.value.status_code == status
