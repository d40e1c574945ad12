"""A peer's life beside plain aiortc: connected, heard, told, gone in every way, and nothing left of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiortc import RTCConfiguration, RTCDtlsTransport, RTCIceTransport, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription

from tests.standins.webrtc import Line
from tests.standins.webrtc.network import LOOPBACK, answer_nominations_only, bind, vanish
from tests.unit.rtc.calls import HERE, RATE_HZ, Owner, a_call, a_listener, open_files, pitch, tone
from tests.unit.rtc.descriptions import CHROME
from trunkline.errors import ClientError, NoPortLeft
from trunkline.rtc import peer as peer_module
from trunkline.rtc import pulse
from trunkline.rtc.channels import Association
from trunkline.rtc.ice import IceConnection, IceSocket, Network
from trunkline.rtc.media import Media
from trunkline.rtc.peer import Gone, Peer


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pulse of `test_pulse.py`, six times as fast."""
    for name in ("ASK_EVERY_S", "QUIET_S", "ASK_AGAIN_S", "LOST_S", "LOST_WITHOUT_ANSWERS_S"):
        monkeypatch.setattr(pulse, name, getattr(pulse, name) / 6)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "CONNECT_S", 0.2)


async def test_a_caller_is_heard_and_hears() -> None:
    async with a_call() as call:
        assert call.owner.events[:2] == ["connected", "opened oai-events"]
        call.line.say(tone(440, 1.0, 48000))
        call.peer.play(1, 0, tone(300, 1.0))
        await call.owner.watch.until(lambda: abs(pitch(bytes(call.owner.pcm[-RATE_HZ:])) - 440) < 5, 20)
        await call.until(lambda: call.peer.sent == (1, 1000) and call.packets[-1].pcm)
        assert pitch(call.heard()[-96_000:], 48000) == pytest.approx(300, abs=5)
        call.line.send("hello")
        await call.owner.until("oai-events: hello")
        assert call.peer.send("oai-events", "hallo")
        await call.until(lambda: call.told == ["hallo"])
        stats = call.peer.stats
    assert stats.packets_received > 20
    assert stats.packets_sent >= 50
    assert stats.round_trip_ms is not None
    assert stats.candidate.startswith("prflx udp 127.0.0.1:"), "its host candidate is at loopback: not tried by us"
    assert (stats.strangers_dropped, stats.malformed_dropped) == (0, 0)
    assert call.peer.stats.packets_sent == stats.packets_sent, "they stay when the call is over"


async def test_what_a_browser_says_it_plays_is_what_was_said() -> None:
    async with a_call() as call:
        call.peer.play(7, 400, tone(300, 0.2))
        await call.until(lambda: call.peer.sent == (7, 600) and any(packet.marker for packet in call.packets))
        first = next(packet for packet in call.packets if packet.marker)
        assert call.peer.heard(first.timestamp) == (7, 400)
        assert call.peer.heard(first.timestamp + 48 * 105) == (7, 505)
        assert call.peer.heard(first.timestamp - 48 * 5000) is None


async def test_hold_resume_and_clear() -> None:
    async with a_call() as call:
        call.peer.hold()
        call.peer.play(1, 0, tone(300, 0.3))
        await asyncio.sleep(0.1)
        assert call.peer.sent == (0, 0)
        call.peer.resume()
        await call.until(lambda: call.peer.sent == (1, 300))
        call.peer.play(2, 0, tone(300, 5.0))
        await call.until(lambda: call.peer.sent[0] == 2)
        call.peer.clear()
        call.peer.play(3, 0, tone(300, 0.1))
        await call.until(lambda: call.peer.sent == (3, 100))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
async def test_audio_is_at_the_sessions_rate(rate_hz: int) -> None:
    async with a_call(rate_hz=rate_hz) as call:
        call.line.say(tone(440, 1.0, 48000))
        await call.owner.watch.until(lambda: abs(pitch(bytes(call.owner.pcm[-rate_hz:]), rate_hz) - 440) < 5, 20)


async def test_we_call() -> None:
    owner, told = Owner(), list[str]()
    peer = Peer(owner, RATE_HZ, HERE)
    async with answering(peer) as connection:

        @connection.on("datachannel")
        def _(channel: object) -> None:
            told.append(channel.label)  # type: ignore[attr-defined]
            channel.on("message", lambda text: channel.send(f"you said {text}"))  # type: ignore[attr-defined]

        await peer.accept(connection.localDescription.sdp)
        await owner.until("opened oai-events")
        assert peer.send("oai-events", "hello")
        await owner.until("oai-events: you said hello")
    assert told == ["oai-events"]
    with pytest.raises(ClientError, match="No offer waits"):
        await peer.accept(connection.localDescription.sdp)


@contextlib.asynccontextmanager
async def answering(peer: Peer) -> AsyncIterator[RTCPeerConnection]:
    """Plain aiortc that has answered the peer's offer."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        await connection.setRemoteDescription(RTCSessionDescription(await peer.offer(), "offer"))
        bind(connection, LOOPBACK)
        await connection.setLocalDescription(await connection.createAnswer())
        yield connection
    finally:
        await peer.close()
        await connection.close()


async def test_two_of_ours() -> None:
    """Both trickle nothing and believe no loopback candidate, unless told to."""
    network = Network(addresses=LOOPBACK, private=True)
    us, them = Owner(), Owner()
    calling, called = Peer(us, RATE_HZ, network), Peer(them, RATE_HZ, network)
    try:
        await calling.accept(await called.answer(await calling.offer("trunkline")))
        calling.play(1, 0, tone(300, 0.5))
        await us.until("opened trunkline")
        await them.until("opened trunkline")
        assert called.send("trunkline", "hello")
        await us.until("trunkline: hello")
        await them.watch.until(lambda: abs(pitch(bytes(them.pcm[-RATE_HZ // 2 :])) - 300) < 5, 20)
        await calling.close()
        await them.until("gone: closed")
        assert "gone: closed" not in us.events, "who closes knows"
    finally:
        await calling.close()
        await called.close()


async def test_both_want_to_control() -> None:
    """An offer that says ice-lite makes us the controlling side (RFC 8445 section 6.1.1); aiortc is that, too."""
    for _ in range(4):  # whose number is greater, is chance
        owner, line = Owner(), Line("oai-events")
        peer = Peer(owner, RATE_HZ, HERE)
        try:
            await line.accept(await peer.answer((await line.offer()).replace("s=-", "s=-\r\na=ice-lite")))
            await owner.until("opened oai-events")
        finally:
            await peer.close()
            await line.close()


async def test_candidates_that_come_later() -> None:
    """Nothing is known of the other side until they come; what cannot be used is no error."""
    network = Network(addresses=LOOPBACK, private=True)
    calling, called = Peer(us := Owner(), RATE_HZ, network), Peer(Owner(), RATE_HZ, network)
    try:
        offer = await calling.offer()
        candidates = [line for line in offer.splitlines() if line.startswith("a=candidate:")]
        answer = await called.answer("\r\n".join(line for line in offer.splitlines() if line not in candidates))
        await calling.accept("\r\n".join(line for line in answer.splitlines() if not line.startswith("a=candidate:")))
        with pytest.raises(ClientError, match="no ICE candidate"):
            await called.add_candidates(["candidate:nonsense"])
        await called.add_candidates(["candidate:1 1 tcp 1 203.0.113.7 9 typ host tcptype active", *candidates, ""])
        await called.add_candidates(candidates)
        await us.until("connected")
        with pytest.raises(ClientError, match="More than 100"):
            await called.add_candidates(candidates * 100)
    finally:
        await calling.close()
        await called.close()


@pytest.mark.usefixtures("hasty")
async def test_who_says_goodbye_is_gone_at_once() -> None:
    async with a_call() as call:
        await call.line.close()
        await call.owner.until("gone: closed")
        assert not call.peer.send("oai-events", "hello?")
        call.peer.play(1, 0, tone(300, 0.1))
        await call.peer.close()
        assert call.owner.events.count("gone: closed") == 1


async def test_a_fault_of_ours_is_no_hang_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Association, data: bytes) -> None:
        raise RuntimeError(f"a bug, at {len(data)} bytes")

    async with a_call() as call:
        monkeypatch.setattr(Association, "_handle_data", fail)
        call.line.send("hello")
        await call.owner.until("gone: lost")


@pytest.mark.usefixtures("hasty")
async def test_who_vanishes_is_lost() -> None:
    async with a_call() as call:
        await call.line.vanish()
        await call.owner.until("gone: lost")


@pytest.mark.usefixtures("hasty")
async def test_who_sends_nothing_lives_as_long_as_it_answers() -> None:
    """A silence of several times what is too long."""
    async with a_listener() as (_, owner, connection):
        await asyncio.sleep(3 * pulse.LOST_S)
        assert owner.events == ["connected"]
        assert not owner.pcm
        await vanish(connection)
        await owner.until("gone: lost")


@pytest.mark.usefixtures("hasty")
async def test_who_answers_only_checks_that_nominate_lives() -> None:
    """OpenAI's agent (elixir-webrtc/ex_ice#110): plain aiortc is gone after 30 s, which here would be 2.5."""
    owner = Owner()
    peer = Peer(owner, RATE_HZ, HERE)
    async with answering(peer) as connection:
        answer_nominations_only(connection)
        await peer.accept(connection.localDescription.sdp)
        await owner.until("connected")
        await asyncio.sleep(pulse.LOST_WITHOUT_ANSWERS_S + 0.5)
        assert owner.why is None


@pytest.mark.usefixtures("hasty")
async def test_a_network_that_comes_back_in_time_costs_nothing() -> None:
    async with a_call() as call:
        call.line.cut(True)
        await asyncio.sleep(pulse.LOST_S / 2)
        call.line.cut(False)
        before = len(call.owner.pcm)
        await call.owner.watch.until(lambda: len(call.owner.pcm) > before + RATE_HZ, 20)
        assert call.owner.why is None


@pytest.mark.usefixtures("impatient")
async def test_nobody_there() -> None:
    owner = Owner()
    peer = Peer(owner, RATE_HZ, HERE)
    await peer.answer(CHROME)
    await owner.until("gone: failed")
    assert owner.events == ["gone: failed"]
    await peer.close()


async def test_somebody_else_there() -> None:
    """Its certificate is not the one that the offer named."""
    owner, line = Owner(), Line("oai-events")
    peer = Peer(owner, RATE_HZ, HERE)
    offer = await line.offer()
    fingerprint = next(line for line in offer.splitlines() if line.startswith("a=fingerprint:sha-256"))
    try:
        await line.accept(await peer.answer(offer.replace(fingerprint, fingerprint[:-8] + "00:00:00")))
        await owner.until("gone: failed")
    finally:
        await peer.close()
        await line.close()


async def test_an_owner_that_fails_ends_no_call() -> None:
    """In uvloop an exception out of a datagram's callback would close the socket."""
    failures: list[object] = []
    async with a_call() as call:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context.get("exception")))
        hear = call.owner.audio

        def fail_once(pcm: bytes) -> None:
            call.owner.audio = hear  # type: ignore[method-assign]
            raise LookupError("a bug")

        call.owner.audio = fail_once  # type: ignore[method-assign]
        before = len(call.owner.pcm)
        await call.owner.watch.until(lambda: len(call.owner.pcm) > before + RATE_HZ // 2, 20)
        assert [str(failure) for failure in failures] == ["a bug"]


async def test_ports_run_out_and_come_back() -> None:
    network = Network(addresses=LOOPBACK, ports=(47_310, 47_311))
    peers = [Peer(Owner(), RATE_HZ, network) for _ in range(4)]
    try:
        used = {port_of(await peer.offer()) for peer in peers[:2]}
        assert used == {47_310, 47_311}
        with pytest.raises(NoPortLeft, match="47310 to 47311"):
            await peers[2].offer()
        await peers[0].close()
        assert port_of(await peers[3].offer()) in used
    finally:
        await asyncio.gather(*(peer.close() for peer in peers))


def port_of(offer: str) -> int:
    return SessionDescription.parse(offer).media[0].ice_candidates[0].port


async def test_closing_in_any_state() -> None:
    before = open_files()
    await Peer(Owner(), RATE_HZ, HERE).close()
    offered = Peer(Owner(), RATE_HZ, HERE)
    await offered.offer()
    await asyncio.gather(offered.close(), offered.close())
    with pytest.raises(ClientError, match="No offer waits"):
        await offered.accept(CHROME)
    refused = Peer(Owner(), RATE_HZ, HERE)
    await refused.offer()
    with pytest.raises(ClientError, match="a=setup"):
        await refused.accept(CHROME)
    for steps in range(12):
        answering_one = Peer(owner := Owner(), RATE_HZ, HERE)
        task = asyncio.create_task(answering_one.answer(CHROME))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await answering_one.close()
        closed = Peer(owner := Owner(), RATE_HZ, HERE)
        task = asyncio.create_task(closed.answer(CHROME))
        for _ in range(steps):
            await asyncio.sleep(0)
        await closed.close()
        with contextlib.suppress(ClientError):
            await task
        assert owner.events == []
    assert open_files() == before


KINDS = (Peer, Media, IceConnection, IceSocket, Association, RTCDtlsTransport, RTCIceTransport)


def census() -> Counter[str]:
    """What is alive in this process. The executor's threads are aiortc's, which encodes in them, and stay."""
    gc.collect()
    alive = Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, KINDS))
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    return alive + Counter(files=open_files(), tasks=len(asyncio.all_tasks()), threads=len(threads))


@pytest.mark.usefixtures("hasty")
async def test_nothing_is_left_of_200_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    await asyncio.gather(*(closed(how) for how in HOWS))
    before = census()
    await asyncio.gather(*(refused() for _ in range(100)), *(never_connected() for _ in range(44)))
    await asyncio.gather(*(closed(how) for how in HOWS * 4))
    monkeypatch.setattr(peer_module, "CONNECT_S", 0.2)
    await asyncio.gather(*(abandoned() for _ in range(40)))
    assert census() == before


HOWS = ("us", "them", "both", "nobody")


async def refused() -> None:
    peer = Peer(Owner(), RATE_HZ, HERE)
    with pytest.raises(ClientError):
        await peer.answer(CHROME.replace("a=setup", "a=set"))


async def never_connected() -> None:
    peer = Peer(Owner(), RATE_HZ, HERE)
    await peer.answer(CHROME)
    await asyncio.sleep(0.05)
    await peer.close()


async def abandoned() -> None:
    """Nobody closes it: the deadline does."""
    owner = Owner()
    await Peer(owner, RATE_HZ, HERE).answer(CHROME)
    await owner.until("gone: failed")
    await asyncio.sleep(0.05)


async def closed(how: str) -> None:
    async with a_call() as call:
        call.peer.play(1, 0, tone(300, 0.1))
        if how == "us":
            await call.peer.close()
        elif how == "them":
            await call.line.close()
            await call.owner.until("gone: closed")
        elif how == "both":
            await asyncio.gather(call.peer.close(), call.line.close())
        else:
            await call.line.vanish()
            await call.owner.until("gone: lost")


def test_why_it_is_over_is_a_word() -> None:
    assert [why.value for why in Gone] == ["closed", "lost", "failed"]
