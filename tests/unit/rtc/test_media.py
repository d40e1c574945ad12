"""Two voices on a wire that loses packets: what is heard, and what each is told of the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pylibsrtp
import pytest

from tests.unit.rtc.calls import RATE_HZ, pitch, rtp, tone, within
from trunkline.rtc import media
from trunkline.rtc.media import Media
from trunkline.rtc.rtp import is_rtcp, parse_reports

LOSE_EVERY = 5


def session(key: bytes, kind: int) -> pylibsrtp.Session:
    return pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=kind))


KEYS = (bytes(range(30)), bytes(range(30, 60)))


@dataclass
class Wire:
    """One way: what comes out, and what is lost on the way."""

    lossy: bool = False
    packets: list[bytes] = field(default_factory=list)
    to: Media | None = None

    def send(self, data: bytes) -> None:
        self.packets.append(data)
        lost = self.lossy and not is_rtcp(data) and len(self.packets) % LOSE_EVERY == 0
        if self.to is not None and not lost:
            asyncio.get_running_loop().call_later(0.005, self.to.take, data)


@dataclass
class Talk:
    ours: Media
    theirs: Media
    wire: Wire
    """From us to them."""
    heard: bytearray
    """By them."""


@pytest.fixture
async def talk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Talk]:
    monkeypatch.setattr(media, "REPORT_S", 0.1)
    heard = bytearray()
    ours, theirs = Media(RATE_HZ, lambda pcm: None), Media(RATE_HZ, heard.extend)
    there, back = Wire(to=theirs), Wire(to=ours)
    any_in, any_out = pylibsrtp.Policy.SSRC_ANY_INBOUND, pylibsrtp.Policy.SSRC_ANY_OUTBOUND
    ours.start(session(KEYS[1], any_in), session(KEYS[0], any_out), there.send, opus=111, may_speak=True)
    theirs.start(session(KEYS[0], any_in), session(KEYS[1], any_out), back.send, opus=111, may_speak=True)
    yield Talk(ours, theirs, there, heard)
    ours.stop()
    theirs.stop()


async def test_what_is_played_is_heard(talk: Talk) -> None:
    talk.ours.play(1, 0, tone(300, 0.5))
    await within(lambda: talk.ours.sent == (1, 500) and pitch(bytes(talk.heard[-RATE_HZ // 2 :])) > 0)
    assert pitch(bytes(talk.heard[-RATE_HZ // 2 :])) == pytest.approx(300, abs=10)
    await within(lambda: talk.ours.stats.round_trip_ms is not None)
    assert (talk.ours.stats.round_trip_ms or 0) >= 9.9, "5 ms each way"
    assert talk.theirs.stats.received.packets_lost == 0


async def test_loss_is_told_and_the_encoder_expects_it(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[int] = []
    monkeypatch.setattr(talk.ours._sender, "expect_loss", expected.append)
    talk.wire.lossy = True
    talk.ours.play(1, 0, tone(300, 1.0))
    await within(lambda: talk.ours.sent == (1, 1000) and talk.ours.stats.remote_lost >= 5)
    assert 5 <= max(expected) <= 60
    talk.wire.lossy = False
    await within(lambda: expected[-1] == 0)
    falling = expected[expected.index(max(expected)) :]
    assert len(set(falling)) > 3, "it is forgotten step by step"
    assert talk.theirs.stats.received.packets_lost >= 5
    assert talk.theirs.stats.received.concealed_ms >= 100


async def test_who_may_not_speak_reports_only(talk: Talk) -> None:
    mute = Media(RATE_HZ, lambda pcm: None)
    wire = Wire()
    mute.start(
        session(KEYS[1], pylibsrtp.Policy.SSRC_ANY_INBOUND),
        session(KEYS[0], pylibsrtp.Policy.SSRC_ANY_OUTBOUND),
        wire.send,
        opus=96,
        may_speak=False,
    )
    mute.play(1, 0, tone(300, 0.2))
    await within(lambda: len(wire.packets) >= 3)
    mute.stop()
    assert all(map(is_rtcp, wire.packets))
    assert mute.sent == (0, 0)


async def test_goodbye(talk: Talk) -> None:
    await within(lambda: talk.theirs.stats.received.packets_received > 0)
    talk.ours.stop()
    last = session(KEYS[0], pylibsrtp.Policy.SSRC_ANY_INBOUND).unprotect_rtcp(talk.wire.packets[-1])
    assert parse_reports(last).left == {talk.ours.ssrc}
    sent = len(talk.wire.packets)
    talk.ours.stop()
    talk.ours.play(1, 0, tone(300, 0.1))
    await asyncio.sleep(0.05)
    assert len(talk.wire.packets) == sent
    assert not talk.ours.take(rtp(1, 1))


async def test_what_is_not_what_it_says_is_counted(talk: Talk) -> None:
    """The last has the right keys: it is a sign of life, and of nothing else."""
    assert not talk.theirs.take(rtp(1, 1))
    assert not talk.theirs.take(bytes([0x80, 200]) + bytes(40))
    outgoing = session(KEYS[0], pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
    assert talk.theirs.take(outgoing.protect_rtcp(bytes([0x9F, 200, 0, 9]) + bytes(36)))
    assert talk.theirs.stats.malformed == 3
