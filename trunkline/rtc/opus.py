"""Opus (RFC 6716) by libopus itself: speech at a session's own rate, with the loss of packets concealed as it can.

libopus takes and gives mono PCM at 8, 12, 16, 24 or 48 kHz whatever the other side chose, so nothing is resampled
here. The library is the one that PyAV's wheel carries, or else the system's.

Why a binding of ours: `av.CodecContext`, which is FFmpeg's, decodes to 48 kHz only, knows no FEC and no expected loss;
of PyPI's bindings (2026-11) opuslib is of 2018, and opuslib-next 1.3.1 finds only a libopus of the system's, makes a
buffer for each packet and declares no length to a packet's inspection. What we need is ten functions.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from trunkline.audio.frame import FRAME_MS, SAMPLE_BYTES, bytes_in, samples_in
from trunkline.errors import AudioError

CLOCK_HZ = 48000
"""RTP timestamps of Opus count at 48 kHz whatever its audio's rate is (RFC 7587, 4.1). A tick here is 1/48000 s."""

TICKS_PER_MS = CLOCK_HZ // 1000
STEP_TICKS = 120
"""2.5 ms: the shortest frame, and what every duration that libopus conceals is a multiple of."""
MAX_TICKS = 5760
"""120 ms: the longest packet (RFC 6716, 3.2.5)."""
MAX_FRAME_BYTES = 1275
"""The longest frame (RFC 6716, 3.2.1); what we send is one frame a packet."""

RATES_HZ = frozenset({8000, 12000, 16000, 24000, 48000})
"""The rates that libopus speaks."""

BITRATE = 48000
COMPLEXITY = 0
"""Bits are cheap here and CPU is dear. 20 ms of speech at 24 kHz (`python -m benchmarks rtc_media`: the distance is
that of log spectra in mel bands, nothing lost; one core of an AMD EPYC, libopus 1.6.1; aiortc's encoder takes 244 us):

| application | bitrate | complexity | layer | encode | decode | distance |
|---|---|---|---|---|---|---|
| VOIP | 32000 | 5 (about a browser's) | hybrid | 144 us | 28 us | 4.2 dB |
| VOIP | 48000 | 5 | hybrid | 142 us | 29 us | 3.5 dB |
| VOIP | 48000 | 0 | hybrid | 63 us | 29 us | 4.7 dB |
| AUDIO | 32000 | 0 | CELT | 21 us | 16 us | 3.6 dB |
| **AUDIO** | **48000** | **0** | **CELT** | **23 us** | **18 us** | **2.7 dB** |
| AUDIO | 48000 | 5 | CELT | 46 us | 21 us | 3.4 dB |
| AUDIO, 10 % loss told | 48000 | 0 | hybrid with FEC | 75 us | 28 us | 4.4 dB |
"""

_APPLICATION_AUDIO = 2049
"""Keeps what VOIP's high-pass filter would take off, and chooses the layer by the loss it is told: CELT, which has no
FEC, up to 5 %, then SILK, which has. With packets really lost, CELT and concealment stay nearer up to 10 % on average,
but the worst moments are SILK's less."""

_SET_BITRATE, _SET_COMPLEXITY, _SET_INBAND_FEC, _SET_PACKET_LOSS = 4002, 4010, 4012, 4014

_SILK_TICKS, _HYBRID_TICKS, _CELT_TICKS = (480, 960, 1920, 2880), (480, 960), (120, 240, 480, 960)
_FRAME_TICKS = _SILK_TICKS * 3 + _HYBRID_TICKS * 2 + _CELT_TICKS * 4
"""A frame's length by the configuration number of its packet's first byte (RFC 6716, table 2)."""


def packet_ticks(payload: bytes) -> int:
    """How long a packet's audio is, in ticks, by its first two bytes; AudioError if that cannot be."""
    if not payload:
        raise AudioError("an Opus packet has at least one byte")
    first = payload[0]
    code = first & 3
    if code == 3 and len(payload) < 2:
        raise AudioError("an Opus packet of many frames does not say how many")
    ticks = _FRAME_TICKS[first >> 3] * (payload[1] & 0x3F if code == 3 else 2 if code else 1)
    if not 0 < ticks <= MAX_TICKS:
        raise AudioError(f"an Opus packet cannot last {ticks / TICKS_PER_MS} ms")
    return ticks


def _candidates() -> Iterator[str]:
    """Where libopus may be: beside PyAV's own library (found without importing it), then where the system has it."""
    spec = importlib.util.find_spec("av")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        yield from map(str, sorted(package.parent.glob("av.libs/libopus-*.so*")))
        yield from map(str, sorted(package.glob(".dylibs/libopus.*dylib")))
    system = ctypes.util.find_library("opus")
    if system is not None:
        yield system


@cache
def library() -> ctypes.CDLL:
    """libopus; AudioError if there is none. Loaded at first use, kept for good."""
    refused = []
    for name in _candidates():
        try:
            return _declared(ctypes.CDLL(name))
        except OSError as error:
            refused.append(f"; {error}")
    raise AudioError(
        "no libopus: neither with PyAV (av.libs/libopus-*.so, av/.dylibs/libopus.*.dylib) nor in the system's library "
        f"path (Debian: libopus0){''.join(refused)}"
    )


def _declared(opus: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of what we call. `ctl` is variadic: only its fixed arguments may be declared (arm64 macOS)."""
    integer, pointer, error = ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
    opus.opus_encoder_create.argtypes = (ctypes.c_int32, integer, integer, error)
    opus.opus_encoder_create.restype = pointer
    opus.opus_encoder_ctl.argtypes = (pointer, integer)
    opus.opus_encoder_destroy.argtypes = (pointer,)
    opus.opus_encoder_destroy.restype = None
    opus.opus_encode.argtypes = (pointer, ctypes.c_char_p, integer, pointer, ctypes.c_int32)
    opus.opus_encode.restype = ctypes.c_int32
    opus.opus_decoder_create.argtypes = (ctypes.c_int32, integer, error)
    opus.opus_decoder_create.restype = pointer
    opus.opus_decoder_destroy.argtypes = (pointer,)
    opus.opus_decoder_destroy.restype = None
    opus.opus_decode.argtypes = (pointer, ctypes.c_char_p, ctypes.c_int32, pointer, integer, integer)
    opus.opus_strerror.argtypes = (integer,)
    opus.opus_strerror.restype = ctypes.c_char_p
    opus.opus_get_version_string.restype = ctypes.c_char_p
    return opus


def version() -> str:
    """As libopus names itself: "libopus 1.6.1"."""
    return str(library().opus_get_version_string().decode())


def _checked(result: int, doing: str) -> int:
    if result < 0:
        raise AudioError(f"{doing}: {library().opus_strerror(result).decode()}")
    return result


def _rate(rate_hz: int) -> int:
    if rate_hz not in RATES_HZ:
        raise AudioError(f"Opus has no {rate_hz} Hz, only {', '.join(map(str, sorted(RATES_HZ)))}")
    return rate_hz


class Encoder:
    """Mono speech to packets of 20 ms, with FEC in them when the other side loses much."""

    def __init__(self, rate_hz: int, *, bitrate: int = BITRATE, complexity: int = COMPLEXITY) -> None:
        self._opus = library()
        self._samples = samples_in(FRAME_MS, _rate(rate_hz))
        self._out = ctypes.create_string_buffer(MAX_FRAME_BYTES)
        error = ctypes.c_int()
        self._state = self._opus.opus_encoder_create(rate_hz, 1, _APPLICATION_AUDIO, error)
        _checked(error.value, "an Opus encoder")
        weakref.finalize(self, self._opus.opus_encoder_destroy, self._state).atexit = False
        self._set(_SET_BITRATE, bitrate)
        self._set(_SET_COMPLEXITY, complexity)
        self._set(_SET_INBAND_FEC, 1)

    def expect_loss(self, percent: int) -> None:
        """How much of what is sent will be lost, 0 to 100, as the other side reports it: that decides on FEC."""
        self._set(_SET_PACKET_LOSS, percent)

    def encode(self, pcm: bytes) -> bytes:
        """One packet of exactly 20 ms; AudioError for any other length."""
        if len(pcm) != self._samples * SAMPLE_BYTES:
            raise AudioError(f"an Opus packet of ours has {self._samples * SAMPLE_BYTES} bytes of PCM, not {len(pcm)}")
        size = self._opus.opus_encode(self._state, pcm, self._samples, self._out, MAX_FRAME_BYTES)
        return ctypes.string_at(self._out, _checked(size, "Opus encoding"))

    def _set(self, request: int, value: int) -> None:
        _checked(self._opus.opus_encoder_ctl(self._state, request, ctypes.c_int32(value)), f"Opus setting {request}")


class Decoder:
    """Packets of any length, mono or stereo, to mono PCM; and what stands in for those that are lost."""

    def __init__(self, rate_hz: int) -> None:
        self._opus = library()
        self._rate_hz = _rate(rate_hz)
        self._room = bytes_in(MAX_TICKS // TICKS_PER_MS, rate_hz)
        self._out = ctypes.create_string_buffer(self._room)
        error = ctypes.c_int()
        self._state = self._opus.opus_decoder_create(rate_hz, 1, error)
        _checked(error.value, "an Opus decoder")
        weakref.finalize(self, self._opus.opus_decoder_destroy, self._state).atexit = False

    def decode(self, payload: bytes) -> bytes:
        """A packet's audio; AudioError if it is malformed."""
        if not payload:  # libopus would take it for a lost packet
            raise AudioError("an Opus packet has at least one byte")
        return self._decoded(payload, self._room // SAMPLE_BYTES, fec=0)

    def conceal(self, ms: float) -> bytes:
        """What may have been said in `ms` that were lost: a multiple of 2.5 ms, up to 120."""
        return self._decoded(None, self._missing(ms), fec=0)

    def decode_fec(self, payload: bytes, ms: float) -> bytes:
        """The `ms` that were lost right before this packet (which is decoded after this, as ever): from the copy it
        carries of the frame before it, if it does, else concealed."""
        return self._decoded(payload, self._missing(ms), fec=1)

    def _missing(self, ms: float) -> int:
        ticks = ms * TICKS_PER_MS
        if not 0 < ticks <= MAX_TICKS or ticks % STEP_TICKS:
            raise AudioError(f"libopus conceals multiples of 2.5 ms up to 120, not {ms} ms")
        return samples_in(ms, self._rate_hz)

    def _decoded(self, payload: bytes | None, samples: int, fec: int) -> bytes:
        size = len(payload) if payload is not None else 0
        got = self._opus.opus_decode(self._state, payload, size, self._out, samples, fec)
        return ctypes.string_at(self._out, _checked(got, "an Opus packet") * SAMPLE_BYTES)
