"""`trunkline call`, as its user sees it: output, files and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from cli import client
from cli.call import EXIT_BAD_INPUT, EXIT_NOT_ANSWERED, call, resample_all
from tests.standins.ws_server import Caller as Served
from tests.standins.ws_server import StandIn, babble
from trunkline.audio.frame import rms
from trunkline.audio.wav import read_wav, wav_bytes

REPLY = babble(0.4)

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(call)


async def answering(served: Served) -> None:
    """Answers the first 300 ms of speech, or anything typed."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(served.wait_for_uplink(300)), group.create_task(served.wait_for("text"))]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
    await served.send("backend", backend="a stand-in", providers={"stt": "Ear [chosen: the only one]"})
    await served.send("state", state="thinking")
    await served.send("transcript", role="user", turn=1, text="what [is] this?")
    await served.send("state", state="speaking")
    await served.send("latency", turn=2, total_ms=42, parts=[["endpoint", 40], ["first_audio", 2]])
    await served.say(2, REPLY)
    await served.send("tool_result", call_id="c1", tool="end_[call]", ok=True, ms=3)
    await served.send("tool_result", call_id="c2", tool="book", ok=False, ms=70)
    await served.send("transcript", role="assistant", turn=2, text="a test")
    await served.send("response_done", turn=2)
    await served.send("state", state="listening")
    await asyncio.sleep(60)


async def mute(served: Served) -> None:
    await asyncio.sleep(60)


@contextlib.contextmanager
def serving(stand_in: StandIn) -> Iterator[str]:
    """The stand-in on a loop of its own: `call` brings its own."""
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with stand_in.serve():
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait(5)
    try:
        yield stand_in.url.replace("http", "ws") + "/ws"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    path.write_bytes(wav_bytes(resample_all(babble(0.3), 16_000, 11_025), 11_025))
    return path


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GOODBYE_S", 0.05)
    monkeypatch.setattr("cli.call.SETTLE_S", 0.1)


def test_a_call_is_shown_and_the_answer_saved(speech: Path, tmp_path: Path) -> None:
    heard = tmp_path / "answer.wav"
    with serving(StandIn(answering)) as url:
        result = run(speech, "--url", url, "--out", heard)
    assert result.exit_code == 0, result.output
    for line in ("a stand-in", "Ear\n", "what [is] this?", "a test", "42 ms = endpoint 40 + first audio 2", "turn 2"):
        assert line in result.stdout
    for line in ("end_[call] took 3 ms\n", "book failed after 70 ms\n"):
        assert line in result.stdout
    assert "\x1b" not in result.stdout
    assert not any(line != line.rstrip() for line in result.stdout.splitlines())
    assert read_wav(heard) == (REPLY, 16_000)


def test_typing_is_answered_too() -> None:
    with serving(StandIn(answering)) as url:
        result = run("--text", "hello", "--url", url)
    assert result.exit_code == 0, result.output


def test_no_answer_ends_with_1(speech: Path, tmp_path: Path) -> None:
    with serving(StandIn(mute)) as url:
        result = run(speech, "--url", url, "--tail", 0.3, "--out", tmp_path / "nothing.wav")
    assert result.exit_code == EXIT_NOT_ANSWERED
    assert "no answer was heard" in result.stdout


def test_wrong_input_is_one_clear_line_and_2(speech: Path, tmp_path: Path) -> None:
    broken, empty = tmp_path / "broken.wav", tmp_path / "empty.wav"
    broken.write_bytes(b"hello")
    empty.write_bytes(wav_bytes(b"", 8000))
    cases: list[tuple[list[object], str]] = [
        ([tmp_path / "none.wav"], "No such file"),
        ([tmp_path], "Is a directory"),
        ([broken], "not a WAV file"),
        ([empty], "holds no audio"),
        ([speech, "--url", "http://localhost"], "no WebSocket address"),
        ([speech, "--url", "ws://127.0.0.1:1/ws"], "nobody answers"),
        ([speech, "--rate", 44_100], "44100"),
        ([speech, "--out", tmp_path / "no" / "out.wav"], "No such file"),
        ([speech, "--out", tmp_path], "Is a directory"),
        ([speech, "--text", "hello"], "not both"),
    ]
    for arguments, message in cases:
        result = run(*arguments)
        assert result.exit_code == EXIT_BAD_INPUT, arguments
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("source_hz", "target_hz"), [(11_025, 16_000), (44_100, 8_000), (96_000, 48_000), (8_000, 24_000)]
)
def test_a_tone_keeps_its_pitch_level_and_length(source_hz: int, target_hz: int) -> None:
    def tone(rate_hz: int) -> bytes:
        return (np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz) * 8000).astype("<i2").tobytes()

    turned = np.frombuffer(resample_all(tone(source_hz), source_hz, target_hz), "<i2").astype(int)
    wanted = np.frombuffer(tone(target_hz), "<i2").astype(int)
    assert turned.size == wanted.size
    assert rms((turned - wanted).astype("<i2").tobytes()) < 8
