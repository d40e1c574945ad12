"""What 20 ms of a WebRTC call's audio cost: each step of ours, the same by aiortc's own, and Opus's settings.

`python -m benchmarks rtc_media [--json FILE]`; about 20 seconds. Needs the `local` extra: eSpeak says the text.

- cpu: microseconds of one core for a packet of 20 ms, the best of five passes over 12 s of speech.
- distance: between the log spectra (25 mel bands up to 8 kHz) of what was said and what is heard, in dB; over the
  frames in which somebody speaks. Where packets are lost, FEC and concealment fill in, as the receiver does it.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from secrets import token_bytes

import numpy as np
import pylibsrtp
from aiortc import rtp as aiortc_rtp
from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.jitterbuffer import JitterBuffer as AiortcJitterBuffer
from aiortc.jitterbuffer import JitterFrame
from av import AudioFrame, AudioResampler
from numpy.typing import NDArray

from benchmarks.figures import json_option, machine, print_table
from trunkline.audio.frame import FRAME_MS, bytes_in, samples_of
from trunkline.audio.resample import Resampler
from trunkline.rtc import opus, rtp
from trunkline.rtc.receiver import Receiver
from trunkline.rtc.sender import Sender
from workers.providers.espeak import EspeakOptions, synthesize

TEXT = (
    "Good morning, this is the front desk of the north side clinic. We have an appointment at half past nine on "
    "Thursday, would that suit you? She sells sea shells on the shore, for fish are fresh there."
)
ESPEAK_HZ = 22050
RATE_HZ = 24000
FRAME_BYTES = bytes_in(FRAME_MS, RATE_HZ)
PASSES = 5
CODEC_DELAY_MS = 6.5
"""Of an encoder (of AUDIO or VOIP) and a decoder together; the overlap of their windows."""

VOIP, AUDIO = 2048, 2049
_SET_APPLICATION = 4000
SETTINGS = (
    *((VOIP, 32000, 5, 0), (VOIP, 48000, 5, 0), (VOIP, 48000, 0, 0)),
    *((AUDIO, 32000, 0, 0), (AUDIO, 48000, 0, 0), (AUDIO, 48000, 5, 0), (AUDIO, 64000, 0, 0), (AUDIO, 48000, 0, 10)),
)
"""Application, bitrate, complexity, percent of loss that the encoder is told."""
LOSSES = (0, 2, 5, 8, 10, 15)


@dataclass(frozen=True)
class Setting:
    """What one way to set the encoder up costs and gives."""

    application: str
    bitrate: int
    complexity: int
    told_loss: int
    layer: str
    encode_us: float
    decode_us: float
    kbits: float
    distance_db: float


@dataclass(frozen=True)
class Loss:
    """Distances when packets are lost at random, by the layer that is used: told of the loss, libopus takes SILK."""

    percent: int
    celt_db: float
    silk_with_fec_db: float


@dataclass(frozen=True)
class Step:
    step: str
    ours_us: float
    aiortc_us: float


def speech() -> bytes:
    parts: list[bytes] = []

    def deliver(pcm: bytes) -> bool:
        parts.append(pcm)
        return True

    synthesize(TEXT, EspeakOptions(), deliver)
    pcm = Resampler(ESPEAK_HZ, RATE_HZ).push(b"".join(parts))
    return pcm[: len(pcm) - len(pcm) % FRAME_BYTES]


def frames(pcm: bytes) -> list[bytes]:
    return [pcm[start : start + FRAME_BYTES] for start in range(0, len(pcm), FRAME_BYTES)]


def cpu_us(prepare: Callable[[], Callable[[int], object]], count: int) -> float:
    """For one of `count` calls, the best of some passes: the machine may be busy with other things."""
    best = np.inf
    for _ in range(PASSES):
        do = prepare()
        began = time.process_time()
        for number in range(count):
            do(number)
        best = min(best, time.process_time() - began)
    return float(best) / count * 1e6


def mel_bands(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """In dB, a row each 10 ms."""
    size = RATE_HZ // 50
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2] * np.hanning(size)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    hz = np.fft.rfftfreq(size, 1 / RATE_HZ)
    edges = 700 * (10 ** (np.linspace(0, np.log10(1 + 8000 / 700), 26)) - 1)
    bands = [power[:, (hz >= low) & (hz < max(high, low + 50))].sum(axis=1) for low, high in pairwise(edges)]
    return np.asarray(10 * np.log10(np.stack(bands, axis=1) + 1e3))


def distance_db(said: bytes, heard: bytes) -> float:
    delay = int(CODEC_DELAY_MS * RATE_HZ / 1000)
    before = mel_bands(samples_of(said).astype(np.float64)[:-delay])
    after = mel_bands(samples_of(heard).astype(np.float64)[delay:])
    spoken = before.max(axis=1) > 70
    return float(np.sqrt(((before - after) ** 2).mean(axis=1))[spoken].mean())


def encoder(application: int, bitrate: int, complexity: int, told_loss: int) -> opus.Encoder:
    made = opus.Encoder(RATE_HZ, bitrate=bitrate, complexity=complexity)
    made._set(_SET_APPLICATION, application)  # ours is always AUDIO
    made.expect_loss(told_loss)
    return made


def layer(payloads: Sequence[bytes]) -> str:
    """Which most packets are of (RFC 6716, table 2)."""
    names = ["SILK" if payload[0] >> 3 < 12 else "hybrid" if payload[0] >> 3 < 16 else "CELT" for payload in payloads]
    return Counter(names).most_common(1)[0][0]


def measure_setting(said: bytes, application: int, bitrate: int, complexity: int, told_loss: int) -> Setting:
    pieces = frames(said)

    def encoding() -> Callable[[int], object]:
        fresh = encoder(application, bitrate, complexity, told_loss)
        return lambda number: fresh.encode(pieces[number])

    def decoding() -> Callable[[int], object]:
        fresh = opus.Decoder(RATE_HZ)
        return lambda number: fresh.decode(payloads[number])

    encode = encoder(application, bitrate, complexity, told_loss).encode
    payloads = [encode(piece) for piece in pieces]
    return Setting(
        "VOIP" if application == VOIP else "AUDIO",
        *(bitrate, complexity, told_loss, layer(payloads)),
        *(cpu_us(encoding, len(pieces)), cpu_us(decoding, len(pieces))),
        sum(map(len, payloads)) * 8 / (len(payloads) * FRAME_MS),
        distance_db(said, b"".join(map(opus.Decoder(RATE_HZ).decode, payloads))),
    )


def heard_with_loss(payloads: Sequence[bytes], percent: int, seed: int) -> bytes:
    """What the receiver makes of them, at once and without waiting for anything."""
    rng = random.Random(seed)
    receiver = Receiver(RATE_HZ, {111: "opus"})
    kept = [0, *(number for number in range(1, len(payloads) - 1) if rng.random() * 100 >= percent), len(payloads) - 1]
    heard = b""
    for number in kept:
        packet = rtp.Packet(111, False, number, number * 960, 1, payloads[number])
        heard += receiver.take(rtp.compose(packet), number * 20.0) + receiver.poll(number * 20.0 + 100)
    return heard


def measure_loss(said: bytes, percent: int) -> Loss:
    """CELT, for the encoder is told of none, and SILK, for it is told of enough."""
    distances = []
    for told in (0, max(10, percent)):
        encode = encoder(AUDIO, opus.BITRATE, opus.COMPLEXITY, told).encode
        payloads = [encode(piece) for piece in frames(said)]
        distances.append(
            float(np.mean([distance_db(said, heard_with_loss(payloads, percent, seed)) for seed in range(4)]))
        )
    return Loss(percent, distances[0], distances[1])


class Packets:
    """One speech as PCM, as Opus, as RTP and as SRTP; and what does each step with the nth of them, begun anew."""

    def __init__(self, said: bytes) -> None:
        self.pieces = frames(said)
        self._key = token_bytes(46)
        sender, protect = Sender(RATE_HZ, 111, 7), self.protecting()
        sender.put(1, 0, said)
        self.clear = [sender.take(number * 20.0) or b"" for number in range(len(self.pieces))]
        self._protected = [protect(number) for number in range(len(self.clear))]
        self.payloads = [rtp.parse(packet).payload for packet in self.clear]

    def protecting(self) -> Callable[[int], bytes]:
        session = srtp(self._key, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        return lambda number: session.protect(self.clear[number])

    def unprotecting(self) -> Callable[[int], bytes]:
        session = srtp(self._key, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        return lambda number: session.unprotect(self._protected[number])

    def parsing(self) -> Callable[[int], object]:
        return lambda number: rtp.parse(self.clear[number])

    def decoding(self) -> Callable[[int], object]:
        decoder = opus.Decoder(RATE_HZ)
        return lambda number: decoder.decode(self.payloads[number])

    def receiving(self) -> Callable[[int], object]:
        receiver = Receiver(RATE_HZ, {111: "opus"})
        return lambda number: receiver.take(self.clear[number], number * 20.0)

    def encoding(self) -> Callable[[int], object]:
        encoder = opus.Encoder(RATE_HZ)
        return lambda number: encoder.encode(self.pieces[number])

    def sending(self) -> Callable[[int], object]:
        sender = Sender(RATE_HZ, 111, 7)

        def send(number: int) -> object:
            sender.put(1, number * 20, self.pieces[number])
            return sender.take(number * 20.0)

        return send


def measure_steps(said: bytes) -> list[Step]:
    packets = Packets(said)
    clear, payloads, pieces, count = packets.clear, packets.payloads, packets.pieces, len(packets.pieces)
    unprotect_us, protect_us = cpu_us(packets.unprotecting, count), cpu_us(packets.protecting, count)
    others = {
        "parse RTP": lambda: aiortc_parsing(clear),
        "decode Opus": lambda: aiortc_decoding(payloads, resampled=False),
        "RTP to PCM at 24 kHz mono": lambda: aiortc_receiving(clear),
        "encode Opus": lambda: aiortc_encoding(pieces),
        "PCM to RTP": lambda: aiortc_sending(pieces),
    }
    ours = (packets.parsing, packets.decoding, packets.receiving, packets.encoding, packets.sending)
    return [
        Step("SRTP unprotect", unprotect_us, unprotect_us),
        *(
            Step(name, cpu_us(do, count), cpu_us(their, count))
            for (name, their), do in zip(others.items(), ours, strict=True)
        ),
        Step("SRTP protect", protect_us, protect_us),
    ]


def srtp(key: bytes, direction: int) -> pylibsrtp.Session:
    return pylibsrtp.Session(
        pylibsrtp.Policy(
            key=key[:30], ssrc_type=direction, srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80
        )
    )


def aiortc_parsing(packets: Sequence[bytes]) -> Callable[[int], object]:
    return lambda number: aiortc_rtp.RtpPacket.parse(packets[number])


def aiortc_decoding(payloads: Sequence[bytes], *, resampled: bool) -> Callable[[int], object]:
    """As `RTCRtpReceiver` decodes; with what makes it the session's mono PCM, if wanted."""
    decoder = OpusDecoder()
    resampler = AudioResampler(format="s16", layout="mono", rate=RATE_HZ)

    def decode(number: int) -> object:
        decoded = decoder.decode(JitterFrame(data=payloads[number], timestamp=number * 960))
        if not resampled:
            return decoded
        return b"".join(
            bytes(part.planes[0])[: part.samples * 2]
            for frame in decoded
            if isinstance(frame, AudioFrame)
            for part in resampler.resample(frame)
        )

    return decode


def aiortc_receiving(packets: Sequence[bytes]) -> Callable[[int], object]:
    """Parser, jitter buffer, decoder and resampler; without its queues and its thread."""
    buffer = AiortcJitterBuffer(capacity=16, prefetch=4)
    payloads: list[bytes] = []
    decode = aiortc_decoding(payloads, resampled=True)

    def receive(number: int) -> object:
        packet = aiortc_rtp.RtpPacket.parse(packets[number])
        packet._data = packet.payload  # type: ignore[attr-defined]
        _, frame = buffer.add(packet)
        if frame is None:
            return None
        payloads.append(frame.data)
        return decode(len(payloads) - 1)

    return receive


def aiortc_encoding(pieces: Sequence[bytes]) -> Callable[[int], tuple[list[bytes], int]]:
    """From PCM of the session, as a `MediaStreamTrack` of ours would give it."""
    made = OpusEncoder()

    def encode(number: int) -> tuple[list[bytes], int]:
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME_BYTES // 2)
        frame.planes[0].update(pieces[number])
        frame.pts, frame.sample_rate = number * FRAME_BYTES // 2, RATE_HZ
        return made.encode(frame)

    return encode


def aiortc_sending(pieces: Sequence[bytes]) -> Callable[[int], object]:
    encode = aiortc_encoding(pieces)

    def send(number: int) -> object:
        payloads, _ = encode(number)
        return [aiortc_rtp.RtpPacket(96, 0, number, number * 960, 7, payload).serialize() for payload in payloads]

    return send


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks rtc_media", description=__doc__.splitlines()[0] if __doc__ else None
    )
    json_option(parser)
    wanted = parser.parse_args(arguments)
    said = speech()
    steps = measure_steps(said)
    print_table(
        f"20 ms of audio at {RATE_HZ} Hz, microseconds of CPU ({opus.version()})",
        ["step", "ours", "aiortc"],
        [(step.step, step.ours_us, step.aiortc_us) for step in steps],
    )
    settings = [measure_setting(said, *setting) for setting in SETTINGS]
    print_table(
        "Opus's settings; nothing is lost",
        [
            "application",
            "bitrate",
            "complexity",
            "told loss",
            "layer",
            "encode us",
            "decode us",
            "kbit/s",
            "distance dB",
        ],
        [tuple(asdict(setting).values()) for setting in settings],
    )
    losses = [measure_loss(said, percent) for percent in LOSSES]
    print_table(
        f"Packets lost at random, {opus.BITRATE} bit/s: distance in dB",
        ["lost %", "CELT, concealed", "SILK and hybrid, FEC"],
        [tuple(asdict(loss).values()) for loss in losses],
    )
    if wanted.json:
        found = {"machine": machine(), "steps": steps, "settings": settings, "losses": losses}
        wanted.json.write_text(json.dumps(found, default=asdict, indent=1) + "\n")


if __name__ == "__main__":
    main()
