"""WAV files: any common PCM one in as s16le mono, recordings out that survive the death of their writer.

Layout after Microsoft's RIFF WAVE ("Multimedia Programming Interface and Data Specifications 1.0", 1991) and
WAVEFORMATEXTENSIBLE (mmreg.h).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from trunkline.audio.frame import FULL_SCALE, SAMPLE_BYTES, check_whole, saturate
from trunkline.errors import AudioError

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE  # wFormatTag
_OTHER_CODECS = {0x0002: "Microsoft ADPCM", 0x0006: "A-law", 0x0007: "mu-law", 0x0011: "IMA ADPCM", 0x0055: "MP3"}
_TO_THE_END = 0xFFFFFFFF  # what ffmpeg and other writers to a pipe give as size
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_MAX_RATE_HZ = 768_000
_MAX_DATA = 0xFFFFFFFF - _HEADER.size  # sizes are 32 bits: 37 hours at 16 kHz


class Pcm(NamedTuple):
    """s16le mono samples and their rate."""

    pcm: bytes
    rate_hz: int


class _Format(NamedTuple):
    kind: int  # _PCM or _FLOAT
    channels: int
    rate_hz: int
    bits: int


def read_wav(path: str | Path) -> Pcm:
    """The WAV file at `path` as s16le mono; AudioError says what is wrong with it, OSError that it cannot be read."""
    try:
        return parse_wav(Path(path).read_bytes())
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


def parse_wav(data: bytes) -> Pcm:
    """A WAV file's bytes as s16le mono at the file's own rate.

    Takes 8, 16, 24 and 32-bit integers and 32-bit floats, mono or stereo (the two are averaged), and skips chunks it
    does not need. More than 16 bits are rounded, too loud floats saturated, NaN is silence. AudioError for everything
    else: no RIFF WAVE, a header or audio cut short, no fmt or data chunk, a zero rate, another codec or layout.
    """
    if len(data) < 12:
        raise AudioError(f"not a WAV file: {len(data)} bytes are less than its first header")
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise AudioError(f"not a WAV file: it begins with {data[:4]!r}, not with RIFF ... WAVE")
    layout: _Format | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"fmt ":
            layout = _parse_format(data[at : at + size])
        elif name == b"data":
            if layout is None:
                raise AudioError("the data chunk comes before any fmt chunk")
            return Pcm(_to_mono(_body(data, at, size), layout), layout.rate_hz)
        at += size + size % 2  # chunks are padded to an even length
    raise AudioError(f"the file ends before its {'data' if layout else 'fmt'} chunk")


def _body(data: bytes, start: int, size: int) -> bytes:
    present = len(data) - start
    if size == _TO_THE_END:
        return data[start:]
    if size > present:
        raise AudioError(f"cut short: the header promises {size} bytes of audio and {present} are there")
    return data[start : start + size]


def _parse_format(chunk: bytes) -> _Format:
    if len(chunk) < 16:
        raise AudioError(f"the fmt chunk has {len(chunk)} bytes of at least 16: the header is cut short")
    kind, channels, rate_hz, _, block_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE:
        if len(chunk) < 40:
            raise AudioError(f"the extensible fmt chunk has {len(chunk)} bytes of 40: the header is cut short")
        kind = int.from_bytes(chunk[24:26], "little")  # the sub-format's first two bytes are the codec
    if kind not in (_PCM, _FLOAT):
        raise AudioError(
            f"codec {kind:#06x} ({_OTHER_CODECS.get(kind, 'unknown')}) is not PCM; convert it to PCM first"
        )
    if (kind == _FLOAT and bits != 32) or bits not in (8, 16, 24, 32):
        raise AudioError(f"{bits}-bit {'floats' if kind == _FLOAT else 'integers'} are not supported")
    if channels not in (1, 2):
        raise AudioError(f"{channels} channels: only mono and stereo are supported")
    _check_rate(rate_hz)
    if block_bytes != channels * bits // 8:
        raise AudioError(f"{channels} x {bits} bits do not fit the header's blocks of {block_bytes} bytes")
    return _Format(kind, channels, rate_hz, bits)


def _to_mono(body: bytes, layout: _Format) -> bytes:
    block = layout.channels * layout.bits // 8
    body = body[: len(body) - len(body) % block]  # a half-written last sample is no sample
    if layout.channels == 1 and layout.kind == _PCM and layout.bits == 16:
        return body
    samples = _scaled(body, layout)
    if layout.channels == 2:
        samples = samples.reshape(-1, 2).mean(axis=1)
    return saturate(samples)


def _scaled(body: bytes, layout: _Format) -> NDArray[np.float64]:
    """Interleaved samples in s16 units, fractions kept."""
    if layout.kind == _FLOAT:
        floats = np.frombuffer(body, dtype="<f4").astype(np.float64) * FULL_SCALE
        return np.nan_to_num(floats, nan=0.0, posinf=FULL_SCALE, neginf=-FULL_SCALE)
    if layout.bits == 8:  # the only unsigned one
        return (np.frombuffer(body, dtype=np.uint8).astype(np.float64) - 128) * 256
    if layout.bits == 16:
        return np.frombuffer(body, dtype="<i2").astype(np.float64)
    if layout.bits == 24:
        padded = np.zeros((len(body) // 3, 4), dtype=np.uint8)
        padded[:, 1:] = np.frombuffer(body, dtype=np.uint8).reshape(-1, 3)
        return padded.view("<i4").ravel() / 65536
    return np.frombuffer(body, dtype="<i4") / 65536


def _header(rate_hz: int, data_bytes: int) -> bytes:
    return _HEADER.pack(
        *(b"RIFF", _HEADER.size - 8 + data_bytes, b"WAVE"),
        *(b"fmt ", 16, _PCM, 1, rate_hz, rate_hz * SAMPLE_BYTES, SAMPLE_BYTES, SAMPLE_BYTES * 8),
        *(b"data", data_bytes),
    )


def _check_rate(rate_hz: int) -> None:
    if not 0 < rate_hz <= _MAX_RATE_HZ:
        raise AudioError(f"a sample rate of {rate_hz} Hz cannot be")


def wav_bytes(pcm: bytes, rate_hz: int) -> bytes:
    """A whole WAV file, 44 bytes of header and `pcm` (s16le mono); AudioError for half a sample or a bad rate."""
    _check_rate(rate_hz)
    check_whole(pcm)
    return _header(rate_hz, len(pcm)) + pcm


class WavWriter:
    """Writes s16le mono to a new WAV file at `path` (an existing one is replaced), and keeps it readable throughout.

    Each append writes its samples, then the header with the new sizes, both straight to the kernel: after a kill -9 the
    file is valid up to the last whole append, and `repair` finds what an interrupted one left behind it. An append of
    20 ms costs two system calls, about 10 microseconds. Only a machine's loss of power can lose more.
    """

    def __init__(self, path: str | Path, rate_hz: int) -> None:
        _check_rate(rate_hz)
        self.rate_hz = rate_hz
        self.data_bytes = 0
        self._file = Path(path).open("wb", buffering=0)  # noqa: SIM115  closed by close() or the with block
        self._write_header()

    def append(self, pcm: bytes) -> None:
        """Add s16le mono samples; AudioError for half a sample, a closed writer, or a file that would pass 4 GiB."""
        check_whole(pcm)
        if self._file.closed:
            raise AudioError("this WAV file is closed")
        if self.data_bytes + len(pcm) > _MAX_DATA:
            raise AudioError("a WAV file holds 4 GiB at most")
        _write_at(self._file.fileno(), pcm, _HEADER.size + self.data_bytes)
        self.data_bytes += len(pcm)
        self._write_header()

    def close(self) -> None:
        """Close the file; the second time nothing happens."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_header(self) -> None:
        _write_at(self._file.fileno(), _header(self.rate_hz, self.data_bytes), 0)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    """All of `data` at `offset`: one pwrite may write less than asked for, on a full disk or a signal."""
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], offset + written)


def repair(path: str | Path) -> int:
    """Make the sizes of a file of WavWriter's fit what is in it, and say how many bytes of audio that is.

    A last half sample is cut off. AudioError if the file does not begin with WavWriter's header, and is then untouched.
    """
    with Path(path).open("r+b") as file:
        header = file.read(_HEADER.size)
        rate_hz, recorded = int.from_bytes(header[24:28], "little"), int.from_bytes(header[40:44], "little")
        if rate_hz > _MAX_RATE_HZ or recorded > _MAX_DATA or header != _header(rate_hz, recorded):
            raise AudioError(f"{path}: not a file of WavWriter's")
        data_bytes = file.seek(0, os.SEEK_END) - _HEADER.size
        data_bytes -= data_bytes % SAMPLE_BYTES
        file.truncate(_HEADER.size + data_bytes)
        file.seek(0)
        file.write(_header(rate_hz, data_bytes))
    return data_bytes
