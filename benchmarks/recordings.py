"""What the detector of speech and the local recogniser make of people: `python -m benchmarks.recordings FOLDER`.

The recordings are five sentences from LibriVox, with the time of each word, that come with PocketSphinx's sources:

    pip download --no-deps --no-binary pocketsphinx pocketsphinx==5.1.1 && tar xzf pocketsphinx-5.1.1.tar.gz
    python -m benchmarks.recordings pocketsphinx-5.1.1/test/data/librivox

For each, as it is and as a telephone carries it: how far from the truth speech begins and ends, where the detector
takes a moment for silence, and whether that was inside a word; and how many of the words are understood.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from trunkline.audio.g711 import pcm_to_ulaw, ulaw_to_pcm
from trunkline.audio.resample import Resampler
from trunkline.audio.wav import parse_wav
from trunkline.tenants import Stage, TurnSettings
from workers.providers import registry
from workers.providers.base import SpeechToText
from workers.turns.endpointing import CHUNK_MS, Edge, EdgeKind, Endpointing
from workers.turns.vad import VoiceActivity

PHONE_HZ = 8000
SILENCE_MS = 1000
"""Before and after each recording; twice that after it."""

EDGE_MS = 30
"""So near to its ends a word's times are not certain."""


@dataclass(frozen=True)
class Word:
    text: str
    start_ms: float
    end_ms: float


def words_in(alignment: str) -> list[Word]:
    """The words of PocketSphinx's alignment, which marks silences as <sil> and variants as the(2)."""
    found = []
    for line in alignment.splitlines():
        for word in json.loads(line)["w"]:
            text = word["t"].partition("(")[0]
            if text and not text.startswith(("<", "[")):
                found.append(Word(text, word["b"] * 1000, (word["b"] + word["d"]) * 1000))
    return found


def resampled(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    resampler = Resampler(from_hz, to_hz)
    return resampler.push(pcm) + resampler.flush()


def by_phone(pcm: bytes, rate_hz: int) -> bytes:
    """At 8 kHz, through mu-law."""
    return ulaw_to_pcm(pcm_to_ulaw(resampled(pcm, rate_hz, PHONE_HZ)))


def edges_of(pcm: bytes, rate_hz: int) -> list[Edge]:
    """Where speech begins, pauses, goes on and ends; times count from the recording's beginning."""
    silence = bytes(rate_hz // 1000 * 2 * SILENCE_MS)
    endpointing = Endpointing(TurnSettings(stop_ms=SILENCE_MS))
    probabilities = VoiceActivity(rate_hz).push(silence + pcm + silence * 2)
    edges = (endpointing.push((at + 1) * CHUNK_MS - SILENCE_MS, p) for at, p in enumerate(probabilities))
    return [edge for edge in edges if edge is not None]


def pauses(edges: list[Edge], words: list[Word]) -> list[str]:
    """How long each silence inside speech lasted, and the word it was in, if any."""
    told = []
    for fell, after in itertools.pairwise(edges):
        if fell.kind is EdgeKind.FELL_SILENT and after.kind is EdgeKind.WENT_ON:
            at_ms = fell.media_ms + CHUNK_MS / 2
            inside = [word.text for word in words if word.start_ms + EDGE_MS < at_ms < word.end_ms - EDGE_MS]
            told.append(f"{after.media_ms - fell.media_ms} ms{' in ' + inside[0] if inside else ''}")
    return told


async def understood(stt: SpeechToText, pcm: bytes, rate_hz: int, words: list[Word]) -> float:
    """The share of the words that were understood, in order."""
    utterance = stt.utterance()
    utterance.push(resampled(pcm, rate_hz, stt.rate_hz))
    heard = (await utterance.finish()).text.split()
    blocks = difflib.SequenceMatcher(None, [word.text for word in words], heard, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(words)


async def measure(recordings: list[tuple[str, bytes, str]]) -> Table:
    """Of each recording: its name, the WAV file, and its alignment."""
    columns = ("recording", "begins, ms late", "ends, ms late", "taken for silence", "words understood")
    table = Table(*columns, title="speech of people")
    stt = registry.speech_to_text(Stage(provider="pocketsphinx"))
    try:
        for name, wav, alignment in recordings:
            audio, words = parse_wav(wav), words_in(alignment)
            phone = by_phone(audio.pcm, audio.rate_hz)
            for way, pcm, rate_hz in (("", audio.pcm, audio.rate_hz), (" by phone", phone, PHONE_HZ)):
                edges = edges_of(pcm, rate_hz)
                late = edges[0].media_ms - words[0].start_ms, edges[-1].media_ms - words[-1].end_ms
                share = await understood(stt, pcm, rate_hz, words)
                silences = ", ".join(pauses(edges, words)) or "never"
                table.add_row(name + way, f"{late[0]:.0f}", f"{late[1]:.0f}", silences, f"{share:.0%}")
    finally:
        await stt.close()
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    paths = sorted(parser.parse_args().folder.glob("*.wav"))
    recordings = [(path.stem[-4:], path.read_bytes(), path.with_suffix(".json").read_text()) for path in paths]
    Console(width=120).print(asyncio.run(measure(recordings)))


if __name__ == "__main__":
    main()
