"""The WebRTC caller against a gateway that says back what it hears: what tests of ours will rely on."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import pairwise

import httpx
import pytest

from tests.standins import tones
from tests.standins.realtime.intake import Intake
from tests.standins.webrtc import Hearing, Packet, Weather, WebRtcCaller
from tests.standins.webrtc.echo import EchoGateway
from tests.standins.webrtc.signalling import split_candidates

PATIENCE_S = 15.0
FRAME = 960


async def test_a_caller_hears_and_is_told() -> None:
    async with EchoGateway() as gateway, WebRtcCaller(gateway.origin, tenant="acme", voice="marin") as caller:
        call = gateway.calls[0]
        assert (call.asked["tenant"], call.asked["voice"]) == ("acme", "marin")
        assert "resume" not in call.asked
        assert caller.bridged.session_id == "s0"
        assert caller.bridged.rate_hz == 48_000
        caller.send({"type": "text", "text": "hi"})
        await caller.until(lambda caller: {"type": "text", "text": "hi"} in [e["message"] for e in caller.told("echo")])
        began_s = time.monotonic()
        await caller.say("hello my name is ada")
        assert time.monotonic() - began_s > 0.8
        await caller.until_heard("hello my name is ada")
        assert set(caller.timings_ms) == {"offer", "bridge", "connected"}


async def test_packets_are_seen_as_they_arrive() -> None:
    """Below aiortc's jitter buffer, which holds back four packets: that is 80 ms."""
    arrived: list[Packet] = []
    async with (
        EchoGateway() as gateway,
        WebRtcCaller(gateway.origin, each_packet=arrived.append, keep_audio=False, reports=False) as caller,
    ):
        await caller.until(lambda _: len(arrived) >= 25)
        assert caller.hearings[0].packets == {}
        assert all(len(packet.pcm) == 2 * FRAME for packet in arrived)
        assert {later.timestamp - earlier.timestamp & 0xFFFFFFFF for earlier, later in pairwise(arrived)} == {FRAME}
        sent, heard = caller.line.departures, gateway.calls[0].packets
        by_sequence = {packet.sequence: packet for packet in heard}
        delays_s = sorted(by_sequence[each.sequence].at_s - each.at_s for each in sent if each.sequence in by_sequence)
        assert len(delays_s) >= 20
        assert 0 <= delays_s[len(delays_s) // 2] < 0.06


async def test_what_is_heard_is_reported() -> None:
    async with EchoGateway() as gateway, WebRtcCaller(gateway.origin) as caller:
        await caller.until(lambda caller: len(caller.told("echo")) >= 3)
        played = [message for message in gateway.calls[0].messages if message["type"] == "played"]
        stamps = [packet.timestamp for packet in caller.hearings[0].packets.values()]
        assert all(message["rtp_timestamp"] in stamps for message in played)
        assert len({message["rtp_timestamp"] for message in played}) == len(played)


async def test_candidates_may_come_after_the_offer() -> None:
    async with EchoGateway() as gateway, WebRtcCaller(gateway.origin, trickle=True, label="oai-events") as caller:
        call = gateway.calls[0]
        assert "a=candidate" not in call.asked["offer"]
        assert [line[:10] for line in call.candidates] == ["candidate:", ""]
        await caller.say("yes")
        await caller.until_heard("yes")
        assert call.messages == []


async def test_a_caller_comes_back() -> None:
    async with EchoGateway() as gateway, WebRtcCaller(gateway.origin, tenant="acme") as caller:
        await caller.until_told("echo")
        first = caller.line
        last = caller.hearings[0].last_timestamp
        await caller.resume()
        asked = gateway.calls[1].asked
        assert asked["tenant"] == "acme"
        assert asked["received"]["seq"] >= 1
        assert asked["received"]["rtp_timestamp"] - (last or 0) & 0xFFFFFFFF < 48_000 * 10
        assert caller.bridged.session_id == "s0"
        assert first.state == "closed"
        assert len(caller.hearings) == 2
        await caller.say("again")
        await caller.until_heard("again")


async def test_a_caller_who_vanishes_says_no_goodbye_and_may_come_back() -> None:
    async with EchoGateway() as gateway, WebRtcCaller(gateway.origin) as caller:
        await caller.drop()
        await asyncio.sleep(0.3)
        assert gateway.calls[0].connection.connectionState == "connected"
        await caller.resume()
        await caller.say("again")
        await caller.until_heard("again")


async def test_a_goodbye_is_one() -> None:
    async with EchoGateway() as gateway:
        async with WebRtcCaller(gateway.origin) as caller:
            pass
        assert caller.line.state == "closed"
        async with asyncio.timeout(PATIENCE_S):
            while gateway.calls[0].connection.connectionState != "closed":  # noqa: ASYNC110 - it has other waiters
                await asyncio.sleep(0.01)


async def test_hang_up() -> None:
    async with EchoGateway() as gateway, WebRtcCaller(gateway.origin) as caller:
        await caller.hang_up()
        assert gateway.calls[0].connection.connectionState == "closed"


async def test_a_network_that_is_cut_and_mended() -> None:
    async with EchoGateway() as gateway, WebRtcCaller(gateway.origin) as caller:
        await caller.until(lambda caller: caller.hearings[0].packets)
        caller.line.cut(True)
        await asyncio.sleep(0.1)  # for what is between the socket and the ear
        before = len(caller.hearings[0].packets)
        await asyncio.sleep(0.3)
        assert len(caller.hearings[0].packets) == before
        caller.line.cut(False)
        await caller.until(lambda caller: len(caller.hearings[0].packets) > before + 10)
        assert caller.hearings[0].lost >= 5


async def test_weather() -> None:
    weather = Weather(loss=0.2, reorder=0.1, duplicate=0.1, seed=7)
    async with EchoGateway() as gateway, WebRtcCaller(gateway.origin, weather=weather) as caller:
        await caller.until(lambda caller: len(caller.line.departures) >= 100)
        heard = Hearing()
        for packet in list(gateway.calls[0].packets):
            heard.add(packet)
        assert 5 <= heard.lost <= 40
        assert heard.late >= 1, "some overtake others, however late this machine sends them"
        # SRTP knows a packet that it has seen.
        assert heard.duplicates == 0


def test_the_same_seed_gives_the_same_weather() -> None:
    storms = [Weather(loss=0.3, jitter_ms=40, reorder=0.2, duplicate=0.1, seed=seed) for seed in (3, 3, 4)]
    fates = [[storm.fates_ms() for _ in range(500)] for storm in storms]
    assert fates[0] == fates[1] != fates[2]
    assert sum(not fate for fate in fates[0]) == pytest.approx(150, abs=40)
    assert max(max(fate, default=0.0) for fate in fates[0]) <= 70
    assert all(Weather().fates_ms() == [0.0] for _ in range(10))


async def test_refusals_are_told() -> None:
    async with EchoGateway() as gateway:
        caller = WebRtcCaller(gateway.origin)
        with pytest.raises(httpx.HTTPStatusError) as caught:
            await caller.connect(resume="no such token")
        assert caught.value.response.json()["code"] == "unknown_session"
        await caller.close()


async def test_another_process_may_come_back_with_the_token() -> None:
    async with EchoGateway() as gateway, WebRtcCaller(gateway.origin) as caller:
        other = WebRtcCaller(gateway.origin)
        await other.connect(resume=caller.bridged.resume)
        assert other.bridged.session_id == caller.bridged.session_id
        await other.close()


async def test_a_caller_as_a_process() -> None:
    async with EchoGateway() as gateway:
        command = [sys.executable, "-m", "tests.standins.webrtc", "--url", gateway.origin]
        process = await asyncio.create_subprocess_exec(
            *command, "--say", "hello my name is ada", "--seconds", "1.5", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        said = json.loads(output)
        assert process.returncode == 0
        assert said["heard"] == "hello my name is ada"
        assert said["lost"] == 0
        assert said["session_id"] == "s0"
        assert said["sent"] > 50


def test_a_hearing_puts_in_order_and_fills_holes() -> None:
    hearing = Hearing()
    pcm = tones.speak("yes", 48_000)
    frames = [pcm[at : at + FRAME * 2] for at in range(0, len(pcm), FRAME * 2)]
    for place in (0, 2, 1, 4, 4, 5, 6, 7, 8, 9):
        hearing.add(
            Packet(0.0, 65_534 + place & 0xFFFF, 4_294_966_000 + place * FRAME & 0xFFFFFFFF, False, frames[place])
        )
    assert (hearing.lost, hearing.late, hearing.duplicates) == (1, 1, 1)
    expected = [*frames[:3], bytes(FRAME * 2), *frames[4:]]
    assert hearing.pcm() == b"".join(expected)
    assert hearing.words() == "yes"


def test_candidates_are_taken_out_of_an_offer() -> None:
    offer = "v=0\r\nm=audio 9\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=end-of-candidates\r\na=mid:0\r\n"
    assert split_candidates(offer) == (
        "v=0\r\nm=audio 9\r\na=mid:0\r\n",
        ["candidate:1 1 udp 1 127.0.0.1 9 typ host"],
    )


class TestIntake:
    """How the Realtime stand-in makes one stream of what comes over RTP; 20 ms are 960 bytes at 24 kHz."""

    PCM = b"\1" * 960

    def test_packets_in_a_row(self) -> None:
        intake = Intake(24_000)
        heard = b"".join(intake.packet(n, n * FRAME, self.PCM, n * 20.0) for n in range(5))
        assert heard == self.PCM * 5

    def test_a_lost_packet_is_silence_and_a_late_one_is_dropped(self) -> None:
        intake = Intake(24_000)
        intake.packet(65_535, 0xFFFFFFFF - FRAME + 1, self.PCM, 0)
        assert intake.packet(1, FRAME, self.PCM, 40) == bytes(960) + self.PCM
        assert intake.packet(0, 0, self.PCM, 41) == b""
        assert intake.packet(2, 2 * FRAME, self.PCM, 60) == self.PCM

    def test_a_pause_without_packets_is_silence_of_its_length(self) -> None:
        intake = Intake(24_000)
        intake.packet(0, 0, self.PCM, 0)
        assert intake.silence(80) == b""
        silent = sum(len(intake.silence(float(ms))) for ms in range(100, 1000, 20))
        assert silent == pytest.approx((980 - 20 - 60) * 48, abs=48)
        resumed = intake.packet(1, FRAME * 50, self.PCM, 1000)
        # 980 ms lie between the two packets' audio.
        assert silent + len(resumed) - len(self.PCM) == 980 * 48

    def test_a_stream_that_jumps_begins_anew(self) -> None:
        intake = Intake(24_000)
        intake.packet(0, 0, self.PCM, 0)
        assert intake.packet(1, 48_000 * 60, self.PCM, 20) == self.PCM
