from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import wave
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from trunkline.audio.wav import Pcm, WavWriter, parse_wav, read_wav, repair, wav_bytes
from trunkline.errors import AudioError

SAMPLES = np.array([0, 1000, -1000, 32767, -32768, 12345], dtype="<i2")
PCM = SAMPLES.tobytes()
ROOT = str(Path(__file__).parents[3])


def wav(
    body: bytes, *, kind: int = 1, channels: int = 1, rate_hz: int = 16000, bits: int = 16, tail: bytes = b""
) -> bytes:
    """A WAV file put together by hand, with whatever is wrong in it."""
    block = channels * bits // 8
    layout = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * block, block, bits) + tail
    chunks = b"fmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def test_our_file_is_the_standard_librarys() -> None:
    with wave.open(BytesIO(wav_bytes(PCM, 24000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24000)
        assert file.readframes(100) == PCM
    assert parse_wav(wav_bytes(PCM, 24000)) == Pcm(PCM, 24000)


def test_the_standard_librarys_file_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 11025, 0, "NONE", ""))
        file.writeframes(PCM)
    assert read_wav(path) == Pcm(PCM, 11025)


WIDE = SAMPLES.astype(np.int64)


@pytest.mark.parametrize(
    ("kind", "bits", "body"),
    [
        (1, 24, b"".join(int(s * 256).to_bytes(3, "little", signed=True) for s in WIDE)),
        (1, 32, (WIDE * 65536).astype("<i4").tobytes()),
        (3, 32, (WIDE / 32768).astype("<f4").tobytes()),
    ],
)
def test_wider_samples_keep_their_top_sixteen_bits(kind: int, bits: int, body: bytes) -> None:
    assert parse_wav(wav(body, kind=kind, bits=bits)).pcm == PCM


def test_eight_bits_are_unsigned() -> None:
    assert parse_wav(wav(bytes([0, 128, 255]), bits=8)).pcm == struct.pack("<3h", -32768, 0, 32512)


def test_stereo_is_averaged() -> None:
    assert parse_wav(wav(struct.pack("<4h", 100, 300, -32768, -32768), channels=2)).pcm == struct.pack(
        "<2h", 200, -32768
    )


def test_floats_out_of_range_saturate_and_nan_is_silence() -> None:
    body = np.array([2.0, -2.0, np.nan, np.inf, -np.inf], dtype="<f4").tobytes()
    assert parse_wav(wav(body, kind=3, bits=32)).pcm == struct.pack("<5h", 32767, -32768, 0, 32767, -32768)


def test_extensible_format_and_unknown_odd_chunks() -> None:
    sub_format = struct.pack("<HHIH", 22, 16, 4, 1) + bytes.fromhex("000000001000800000aa00389b71")
    plain = wav(PCM, kind=0xFFFE, tail=sub_format)
    assert parse_wav(plain).pcm == PCM
    assert parse_wav(plain[:12] + b"LIST\3\0\0\0abc\0" + plain[12:]).pcm == PCM


def test_a_size_that_its_writer_could_not_know_means_to_the_end() -> None:
    piped = wav(PCM).replace(b"data" + struct.pack("<I", len(PCM)), b"data\xff\xff\xff\xff")
    assert parse_wav(piped).pcm == PCM


GOOD = wav(PCM)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"ID3\4" + bytes(40), "not a WAV file: it begins with b'ID3"),
        (GOOD[:12], "before its fmt chunk"),
        (GOOD[:30], "header is cut short"),
        (GOOD[:36], "before its data chunk"),
        (GOOD[:-1], "cut short: the header promises 12 bytes of audio and 11 are there"),
        (GOOD[:12] + GOOD[36:], "before any fmt chunk"),
        (wav(PCM, rate_hz=0), "rate of 0 Hz"),
        (wav(PCM, kind=7, bits=8), "mu-law"),
        (wav(PCM, kind=0x1234), "0x1234"),
        (wav(PCM, kind=0xFFFE), "extensible"),
        (wav(PCM, channels=0), "0 channels"),
        (wav(PCM, channels=6), "6 channels"),
        (wav(PCM, bits=12), "12-bit"),
        (wav(PCM, kind=3, bits=16), "16-bit floats"),
        (GOOD[:32] + b"\7" + GOOD[33:], "blocks of 7"),
    ],
)
def test_a_broken_file_is_refused_by_what_is_wrong(data: bytes, says: str) -> None:
    with pytest.raises(AudioError, match=says):
        parse_wav(data)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"broken\.wav: not a WAV"):
        read_wav(path)


@pytest.mark.parametrize(("pcm", "rate_hz"), [(b"abc", 8000), (PCM, 0), (PCM, -1)])
def test_nothing_broken_is_written(pcm: bytes, rate_hz: int) -> None:
    with pytest.raises(AudioError):
        wav_bytes(pcm, rate_hz)


def test_the_file_is_right_after_every_append(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with WavWriter(path, 8000) as writer:
        assert read_wav(path) == Pcm(b"", 8000)
        for count in (1, 2, 3):
            writer.append(PCM)
            assert path.read_bytes() == wav_bytes(PCM * count, 8000)
        with pytest.raises(AudioError, match="3 bytes"):
            writer.append(b"abc")
    with pytest.raises(AudioError, match="closed"):
        writer.append(PCM)
    assert read_wav(path).pcm == PCM * 3


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    script = f"""if True:
        import os
        from trunkline.audio.wav import WavWriter
        writer = WavWriter({str(path)!r}, 8000)
        writer.append({PCM!r})
        writer.append({PCM!r})
        os.kill(os.getpid(), {signal.SIGKILL:d})
    """
    ended = subprocess.run([sys.executable, "-c", script], check=False, env={**os.environ, "PYTHONPATH": ROOT})
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == wav_bytes(PCM * 2, 8000)


def test_repair_takes_in_what_the_header_missed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(PCM, 8000) + PCM + b"\1")  # killed between samples and header
    assert read_wav(path).pcm == PCM
    assert repair(path) == 2 * len(PCM)
    assert path.read_bytes() == wav_bytes(PCM * 2, 8000)


def test_repair_after_lost_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(PCM, 8000)[:-3])  # power lost: the header was on disk first
    with pytest.raises(AudioError, match="cut short"):
        read_wav(path)
    assert repair(path) == len(PCM) - 4
    assert read_wav(path).pcm == PCM[:-4]


@pytest.mark.parametrize("data", [b"", b"RIFF", wav(PCM, channels=2), b"\xff" * 60])
def test_repair_leaves_others_files_alone(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises(AudioError, match="not a file of WavWriter's"):
        repair(path)
    assert path.read_bytes() == data
