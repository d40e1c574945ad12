"""Somebody treats a gateway of WebRTC calls as nobody should: whoever else calls there hears nothing of it, and nothing
of it is left.

Real processes. What is wrong with each offer and datagram has tests of its own (`tests/unit/gateway`,
`tests/contract`); here is what a deployment makes of many, beside a caller who must hear each of their words.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiortc import MediaStreamTrack
from av import AudioFrame

from benchmarks.processes import resident_bytes
from benchmarks.stack import Stack
from tests.standins import tones
from tests.standins.realtime import Realtime
from tests.standins.realtime.story import storyteller
from tests.standins.webrtc import Line, WebRtcCaller
from tests.standins.webrtc.hearing import words_in
from tests.standins.webrtc.junk import KINDS, junk_dtls
from tests.standins.webrtc.network import ice_of
from tests.standins.webrtc.offers import hostile, offered
from tests.standins.webrtc.signalling import BASE, Signalling, split_candidates
from tests.standins.webrtc.track import FRAME_BYTES, FRAME_SAMPLES, RATE_HZ
from tests.system.hostile.target import MB
from tests.system.lateness import watched
from tests.system.webrtc import GRACE_S, PATIENCE_S, Gateway, deployed, gateway, udp_ports, until_heard

log = logging.getLogger(__name__)

pytestmark = [
    pytest.mark.system,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("_unhurt"),
]

SAID = "hello my name is ada what is the weather on sunday and at what time can i book an appointment"
CONNECT_S = 10
"""An offer whose caller never comes is forgotten after so long."""
AHEAD_S = 10.0
"""So much more audio than time has passed comes from who is hasty."""
MORE_MB = 25
"""What a gateway may have more after an attack: an allocator gives back less than it got."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with Realtime(answer=storyteller, webrtc=True) as realtime, deployed(realtime) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def target(stack: Stack) -> Gateway:
    started = await gateway(stack)
    async with WebRtcCaller(started.origin, tenant="echo") as caller:  # what is loaded with the first call stays
        await caller.say("hello")
        await caller.until_heard("hello")
    await started.until_empty()
    return started


@pytest_asyncio.fixture(loop_scope="module")
async def _unhurt(stack: Stack, target: Gateway) -> AsyncIterator[None]:
    """A caller is echoed from before the attack until after it; then the gateway is as it was."""
    began_at, before = len(stack.log_text()), resident_bytes(target.pid)
    async with _innocent(target):
        yield
    await target.until_empty(CONNECT_S + GRACE_S + PATIENCE_S)
    more_mb = (resident_bytes(target.pid) - before) / MB
    log.info("gateway: %.1f MB more", more_mb)
    assert more_mb < MORE_MB
    logged = stack.log_text()[began_at:]
    assert "Traceback" not in logged, logged[-6000:]


@asynccontextmanager
async def _innocent(target: Gateway) -> AsyncIterator[None]:
    said = (SAID + " ") * 10
    async with watched() as late, WebRtcCaller(target.origin, tenant="echo") as caller:
        caller.line.say(tones.speak(said, RATE_HZ))
        await until_heard(caller, "hello my name is ada")
        yield
        left = len(caller.line.unsaid()) // (RATE_HZ // 1000 * 2)
        await caller.say("thank you bye")
        await until_heard(caller, "thank you bye")
        heard = (await asyncio.to_thread(words_in, caller.pcm)).split()
        stats = caller.hearings[-1]
    words = said.split()
    spoken = words[: len(words) - -(-left // tones.WORD_MS)]
    missing, more = (
        Counter(spoken) - Counter(heard),
        Counter(heard) - Counter([*spoken, *words[:1], *"thank you bye".split()]),
    )
    log.info(
        "innocent: heard %d of %d words; %d packets lost, %d late; our own clock stood still %d times",
        len(heard),
        len(spoken),
        stats.lost,
        stats.late,
        late.stalls,
    )
    most = 1 + len(spoken) // 50 + late.stalls  # a word each time this process was late with it
    assert missing.total() <= most, (missing, heard)
    assert more.total() <= most, (more, heard)


# --- offers


NO_OFFERS: tuple[object, ...] = (None, 5, [], "", {"type": "answer", "sdp": "v=0"})


async def test_two_hundred_bad_offers(target: Gateway) -> None:
    """Each is refused by name and leaves no socket; then those that could be good, were their sender allowed."""
    good = await offered("audio", "data")
    bad = hostile(good, await offered("video"), await offered("data"))
    before = target.udp_sockets
    async with _http(target) as client:

        async def refused(offer: object, **more: object) -> tuple[int, str]:
            headers = {"origin": "https://elsewhere.example"} if more.pop("foreign", False) else {}
            response = await client.post(
                f"{BASE}/bridge", json={"offer": offer, "tenant": "echo", **more}, headers=headers
            )
            told = response.json()
            assert all(told[part] for part in ("code", "message", "hint")), told
            return response.status_code, told["code"]

        seen: Counter[tuple[int, str]] = Counter()
        for _ in range(10):
            for name, offer in bad.items():
                status, code = await refused(offer)
                assert 400 <= status < 500, (name, status, code)
                seen[status, code] += 1
            for more in ({"tenant": "nobody"}, {"foreign": True}, {"resume": "a token of nobody"}, {"tenant": 5}):
                status, code = await refused(good, **more)
                assert 400 <= status < 500, (more, status, code)
                seen[status, code] += 1
            for what in NO_OFFERS:
                status, code = await refused(what)
                assert status == 400, (what, status, code)
                seen[status, code] += 1
    log.info("refusals: %s", dict(seen))
    assert seen.total() >= 200
    assert target.udp_sockets == before


async def test_an_offer_that_is_taken_twice_is_two_calls(target: Gateway) -> None:
    """A retry of a POST that was believed lost: the one whose answer is taken goes on, the other is nothing."""
    line = Line("trunkline")
    try:
        offer = await line.offer()
        async with Signalling(target.origin, {}) as signalling:
            first, second = await asyncio.gather(*(signalling.bridge(offer, {"tenant": "echo"}) for _ in range(2)))
            await line.accept(second.answer)
            await line.connected()
            await signalling.hang_up(first)
            line.say(tones.speak("yes", RATE_HZ))
            await asyncio.sleep(0.5)
            assert line.state == "connected"
            await signalling.hang_up(second)
    finally:
        await line.close()


async def test_a_hundred_callers_who_never_come(target: Gateway) -> None:
    """Half-open calls, their offers taken: they hold a socket each, for ten seconds."""
    offer = await offered("audio", "data")
    before = target.udp_sockets
    async with _http(target) as client:

        async def half_open() -> int:
            response = await client.post(f"{BASE}/bridge", json={"offer": offer, "tenant": "echo"})
            return response.status_code

        statuses = Counter(await asyncio.gather(*(half_open() for _ in range(100))))
    assert statuses == {201: 100}
    assert target.udp_sockets == before + 100
    async with asyncio.timeout(CONNECT_S + PATIENCE_S):
        while target.udp_sockets > before:  # noqa: ASYNC110 - only it knows
            await asyncio.sleep(0.2)


async def test_a_token_is_good_for_one_of_two_who_come_back_at_once(target: Gateway) -> None:
    async with WebRtcCaller(target.origin, tenant="echo") as caller:
        token = caller.bridged.resume
        offer = await offered("audio", "data")
        async with _http(target) as client:
            asked = {"offer": offer, "resume": token}
            answers = await asyncio.gather(*(client.post(f"{BASE}/bridge", json=asked) for _ in range(4)))
        granted = [answer.json() for answer in answers if answer.status_code == 201]
        refused = [(answer.status_code, answer.json()["code"]) for answer in answers if answer.status_code != 201]
        assert granted
        assert set(refused) <= {(409, "resumed_elsewhere")}, "who comes later takes its place"
        # Nobody came by the new wire: the old one is still there, and is heard.
        await caller.say("yes yes yes")
        await caller.until_heard("yes")
        async with _http(target) as client:
            ended = [await _hang_up(client, each["session_id"], each["resume"]) for each in granted]
        assert ended.count(204) == 1, ended


async def _hang_up(client: httpx.AsyncClient, session: str, token: str) -> int:
    answer = await client.delete(f"{BASE}/{session}", headers={"authorization": f"Bearer {token}"})
    return answer.status_code


async def test_nobody_comes_back_into_a_call_of_others(target: Gateway) -> None:
    """A token names its session, and that its tenant: who asks for another tenant with it gets none of that."""
    async with WebRtcCaller(target.origin, tenant="echo") as caller, _http(target) as client:
        offer, token = await offered("audio", "data"), caller.bridged.resume
        session = caller.bridged.session_id
        forged = [token[:-4] + "0000", token.replace(".", ",", 1), token + "x", "x" * 128]
        for wrong in forged:
            answer = await client.post(f"{BASE}/bridge", json={"offer": offer, "resume": wrong})
            assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")
            for verb, body in (("PATCH", {"candidates": []}), ("DELETE", None)):
                headers = {"authorization": f"Bearer {wrong}"}
                refused = await client.request(verb, f"{BASE}/{session}", json=body, headers=headers)
                assert refused.status_code == 401 or refused.status_code == 403
        async with WebRtcCaller(target.origin, tenant="echo") as other:
            headers = {"authorization": f"Bearer {other.bridged.resume}"}
            assert (await client.delete(f"{BASE}/{session}", headers=headers)).status_code in (401, 403)
        await caller.say("yes yes yes")
        await caller.until_heard("yes")


async def test_a_flood_of_candidates(target: Gateway) -> None:
    line = Line("trunkline")
    try:
        offer, _ = split_candidates(await line.offer())
        async with _http(target) as client:
            answer = (await client.post(f"{BASE}/bridge", json={"offer": offer, "tenant": "echo"})).json()
            path, headers = f"{BASE}/{answer['session_id']}", {"authorization": f"Bearer {answer['resume']}"}
            await line.accept(answer["answer"])
            many = [f"candidate:{i} 1 udp {i} 192.0.2.{i + 1} {1024 + i} typ host" for i in range(20)]
            statuses: Counter[int] = Counter()
            for _ in range(50):  # ten at once: the innocent caller speaks from this process, and may not stammer for it
                sent = (client.patch(path, json={"candidates": many}, headers=headers) for _ in range(10))
                statuses.update(answer.status_code for answer in await asyncio.gather(*sent))
        assert statuses[204] == 5, "a hundred may be told"
        assert set(statuses) == {204, 400}
        await line.connected()
    finally:
        await line.close()


# --- datagrams


async def test_datagrams_of_strangers(target: Gateway) -> None:
    """Junk of every kind to every port of every call, and from a caller's own address too."""
    dice = random.Random(1)
    async with WebRtcCaller(target.origin, tenant="echo") as caller:
        ports = udp_ports(target.pid)
        assert len(ports) == 2
        ice = ice_of(caller.line.connection)
        (own,) = ice._protocols
        pair = ice._nominated[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(300):
                for kind in KINDS:
                    for port in ports:
                        stranger.sendto(kind(dice), ("127.0.0.1", port))
                    if kind is not junk_dtls:  # an alert in the clear is DTLS's own weakness (RFC 6347, 4.1.2.7)
                        own.transport.sendto(kind(dice), pair.remote_addr)
                await asyncio.sleep(0.005)
        await caller.say("what is the time")
        await until_heard(caller, "what is the time")


# --- data channels


async def test_a_thousand_channels(target: Gateway) -> None:
    async with WebRtcCaller(target.origin, tenant="echo") as caller:
        for number in range(1000):
            caller.line.connection.createDataChannel(f"channel {number}")
            if number % 50 == 0:
                await asyncio.sleep(0.02)
        await caller.say("yes yes yes")
        await caller.until_heard("yes")
        caller.send({"type": "nothing of ours"})
        await caller.until_told("error")


async def test_who_says_too_much_is_hung_up_on(target: Gateway) -> None:
    async with WebRtcCaller(target.origin, tenant="echo") as caller:
        for number in range(1000):
            if caller.line.channel.readyState != "open":
                break
            caller.send({"type": "response.cancel"})
            if number % 100 == 99:
                await asyncio.sleep(0.05)  # its socket must not drown in acknowledgements, and the goodbye with them
        errors = await caller.until_told("error")
        assert errors["code"] == "too_fast"
        await caller.until(lambda caller: caller.line.state == "closed")


async def test_large_messages(target: Gateway) -> None:
    """Far longer than we say we take, from who does not care: its call goes on, and so do others."""
    async with WebRtcCaller(target.origin, tenant="echo") as caller:
        association: Any = caller.line.connection.sctp
        association._remote_max_message_size = 1 << 30
        for size in (60_000, 1 << 20, 1 << 20, 1 << 20):
            caller.line.send(json.dumps({"type": "text", "text": "x" * size}))
            await asyncio.sleep(0.3)
        await caller.say("yes yes yes")
        await caller.until_heard("yes")


async def test_who_reads_nothing_of_what_it_is_told(target: Gateway) -> None:
    """Its SCTP is dead, its audio lives: what cannot be told is thrown away, and the answer is heard to its end."""
    async with WebRtcCaller(target.origin, tenant="websocket") as caller:
        await until_heard(caller, "hello welcome")
        association: Any = caller.line.connection.sctp

        async def deaf(data: bytes) -> None:
            pass

        association._handle_data = deaf
        await caller.say("tell me a story")
        await until_heard(caller, "the sea the sun the star")


# --- audio


class Hasty(MediaStreamTrack):
    """Silence at ten times the speed at which there is any."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._samples = 0

    @property
    def sent_s(self) -> float:
        return self._samples / RATE_HZ

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(0.002)
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        frame.planes[0].update(bytes(FRAME_BYTES))
        frame.sample_rate, frame.pts = RATE_HZ, self._samples
        frame.time_base = Fraction(1, RATE_HZ)
        self._samples += FRAME_SAMPLES
        return frame


async def test_audio_at_ten_times_the_speed(stack: Stack, target: Gateway) -> None:
    async with WebRtcCaller(target.origin, tenant="echo") as caller:
        session = caller.bridged.session_id
        (sender,) = caller.line.connection.getSenders()
        hasty, began_s = Hasty(), time.monotonic()
        sender.replaceTrack(hasty)
        async with asyncio.timeout(PATIENCE_S):
            while hasty.sent_s < (took_s := time.monotonic() - began_s) + AHEAD_S:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
        hearing = caller.hearings[-1]
        heard_s = len(hearing.pcm()) / 2 / RATE_HZ
    assert heard_s < took_s + 3, "an echo of what nobody could have said"
    await _logged(stack, f"session {session}: a peer connection is over (stop)")
    dropped = re.search(rf"session {session}: (\d+) ms of audio came too fast", stack.log_text())
    assert dropped is not None
    assert int(dropped[1]) > AHEAD_S * 1000 / 2


async def _logged(stack: Stack, text: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while text not in stack.log_text():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.1)


def _http(target: Gateway) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=target.origin, trust_env=False, timeout=30)
