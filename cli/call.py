"""`trunkline call`: a call from the command line, with what is said and heard printed as it happens."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cli.account import CallError
from cli.client import Caller
from cli.downlink import Output
from cli.lines import plain_or_rich
from cli.transcript import Screen
from trunkline.audio.frame import RATES_HZ, SAMPLE_BYTES, check_rate, samples_of, saturate
from trunkline.audio.wav import read_wav, wav_bytes
from trunkline.errors import AudioError

EXIT_NOT_ANSWERED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
NOT_OUR_INPUT = {429, 500, 502, 503, 504, 4500}
"""Refusals that say nothing against what was asked for."""

SETTLE_S = 1.0
"""An answer heard to its end is the last one when nothing follows for this long."""
LOOK_S = 0.05


def call(
    file: Annotated[str, typer.Argument(help="a WAV file to speak, of any rate; -: silence", metavar="[FILE]")] = "-",
    url: Annotated[str, typer.Option(help="where to call")] = "ws://127.0.0.1:8080/ws",
    tenant: Annotated[str | None, typer.Option(help="whom to call; none: the default tenant")] = None,
    text: Annotated[str | None, typer.Option(help="type this instead of speaking")] = None,
    out: Annotated[Path | None, typer.Option(help="save what was heard as a WAV file")] = None,
    rate: Annotated[int, typer.Option(help="samples a second, both ways: 8000, 16000, 24000 or 48000")] = 16000,
    output: Annotated[Output, typer.Option(help="how the answer's audio comes over the wire")] = "pcm",
    tail: Annotated[float, typer.Option(min=0, help="hang up after this many seconds of quiet")] = 10.0,
) -> None:
    """Call a gateway: speak a WAV file in real time, print both sides live, save the answer as it was heard.

    Ends with 0 when there was an answer, 1 when there was none, 2 when the file or the address is wrong.
    """
    shown = Screen(plain_or_rich())
    try:
        check_rate(rate, RATES_HZ)
        speech = read_speech(file, rate, text)
        _check_writable(out)
        caller = Caller(url, tenant=tenant, rate_hz=rate, output=output, watch=shown.take)
        answered = asyncio.run(_converse(caller, shown, speech, text, tail, out))
    except (AudioError, CallError, OSError) as error:
        shown.close()
        typer.secho(f"trunkline call: {_in_words(error)}", fg="red", err=True)
        code = error.close_code if isinstance(error, CallError) else 0
        raise typer.Exit(EXIT_NOT_ANSWERED if code in NOT_OUR_INPUT else EXIT_BAD_INPUT) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(0 if answered else EXIT_NOT_ANSWERED)


def read_speech(file: str, rate_hz: int, text: str | None) -> bytes:
    """What to say, as s16le at `rate_hz`; nothing for `-`. Raises AudioError and OSError."""
    if file == "-":
        return b""
    if text is not None:
        raise AudioError("give a file to speak or a --text to type, not both")
    wav = read_wav(file)
    if not wav.pcm:
        raise AudioError(f"{file}: holds no audio")
    return resample_all(wav.pcm, wav.rate_hz, rate_hz)


def resample_all(pcm: bytes, source_hz: int, target_hz: int) -> bytes:
    """A whole recording from any rate to any other, by its spectrum: exact, but not for a stream."""
    if source_hz == target_hz:
        return pcm
    samples = samples_of(pcm)
    count = max(1, round(samples.size * target_hz / source_hz))
    spectrum = np.fft.rfft(samples.astype(np.float64))
    return saturate(np.fft.irfft(spectrum[: count // 2 + 1], count) * (count / samples.size))


def _check_writable(out: Path | None) -> None:
    """Before the call, not after it. Raises OSError."""
    if out is None:
        return
    if out.is_dir():
        raise IsADirectoryError(21, os.strerror(21), str(out))
    with out.open("ab"):
        pass


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


async def _converse(
    caller: Caller, shown: Screen, speech: bytes, text: str | None, tail_s: float, out: Path | None
) -> bool:
    """Make the call; says whether there was an answer. Raises CallError when it cannot begin."""
    try:
        async with caller:
            shown.began(caller)
            try:
                if text is not None:
                    caller.type_text(text)
                await caller.say(speech)
                await _listen_to_the_end(caller, tail_s)
            except CallError as error:  # the end is in the summary
                shown.note("ended", str(error))
    finally:
        shown.close()
        if caller.session_id:
            shown.summary(caller)
            _save(caller, out, shown)
    return was_answered(caller)


async def _listen_to_the_end(caller: Caller, tail_s: float) -> None:
    """Until the last answer is heard, or nothing at all happened for `tail_s`. Raises CallError."""
    while caller.speaker.queued_ms or caller.ended is None:
        quiet_s = caller.now_s - caller.last_sign_s
        answered = caller.is_answered and caller.state in ("", "listening")
        if quiet_s >= (min(SETTLE_S, tail_s) if answered else tail_s):
            return
        await asyncio.sleep(LOOK_S)
    if not caller.is_answered:
        raise CallError(caller.ended.reason, caller.ended.code)


def was_answered(caller: Caller) -> bool:
    """Whether anything was heard after the caller's last word; a greeting is no answer to somebody who spoke."""
    return caller.speaker.last_sound_s > (caller.last_input_s or 0.0)


def _save(caller: Caller, out: Path | None, shown: Screen) -> None:
    """What was heard, from its first sound to its last."""
    if out is None:
        return
    pieces = caller.speaker.heard
    if not pieces:
        shown.note("saved", f"nothing: no answer was heard, {out} is empty")
        return
    heard = caller.heard[pieces[0].at * SAMPLE_BYTES : (pieces[-1].at + pieces[-1].length) * SAMPLE_BYTES]
    out.write_bytes(wav_bytes(heard, caller.rate_hz))
    shown.note("saved", f"{out}: {len(heard) / SAMPLE_BYTES / caller.rate_hz:.1f} s")
