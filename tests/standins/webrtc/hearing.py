"""What arrived, put in order: the audio of one RTP stream, with silence where packets are missing."""

from __future__ import annotations

import numpy as np

from tests.standins import tones

from .arrivals import Packet
from .track import RATE_HZ

_EAR_HZ = 8_000
"""Words are tones that a telephone carries; to hear them in six times as many samples takes six times as long."""

_LONGEST_HOLE_S = 1
"""A pause may be many seconds without a packet; a second of it is enough to hear."""


class Hearing:
    """The packets of one stream, from the first that came."""

    def __init__(self) -> None:
        self.packets: dict[int, Packet] = {}
        """By their extended sequence number; of duplicates the first."""

        self.duplicates = 0
        self.late = 0
        """Packets that came behind a later one."""

        self._highest = 0

    def add(self, packet: Packet) -> None:
        if not self.packets:
            self._highest = packet.sequence
        step = (packet.sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
        number = self._highest + step
        if number in self.packets:
            self.duplicates += 1
            return
        self.late += step < 0
        self._highest = max(self._highest, number)
        self.packets[number] = packet

    @property
    def lost(self) -> int:
        """Sequence numbers that never came, between the first and the last that did."""
        return max(self.packets) - min(self.packets) + 1 - len(self.packets) if self.packets else 0

    @property
    def last_timestamp(self) -> int | None:
        """Of the newest packet."""
        return self.packets[self._highest].timestamp if self.packets else None

    def pcm(self) -> bytes:
        """s16le mono at 48 kHz; a pause without packets lasts at most a second here."""
        audio, due = bytearray(), None
        for number in sorted(self.packets):
            packet = self.packets[number]
            hole = 0 if due is None else packet.timestamp - due & 0xFFFFFFFF
            if hole < 0x80000000:
                audio += bytes(min(hole, _LONGEST_HOLE_S * RATE_HZ) * 2)
            audio += packet.pcm
            due = packet.timestamp + len(packet.pcm) // 2
        return bytes(audio)

    def words(self) -> str:
        """The words of tests.standins.tones in it."""
        return words_in(self.pcm())


def words_in(pcm: bytes) -> str:
    """The words in s16le mono at 48 kHz."""
    step = RATE_HZ // _EAR_HZ
    samples = np.frombuffer(pcm, "<i2")
    groups = samples[: len(samples) // step * step].reshape(-1, step)
    return tones.hear(groups.mean(axis=1).astype("<i2").tobytes(), _EAR_HZ) if len(groups) else ""
