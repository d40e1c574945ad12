"""The WebRTC door: what it grants and refuses, who owns a call then, and who may change it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.webrtc import PATH
from tests.unit.gateway.webrtc import CANDIDATE, OFFER, FakeLink, Gateway, Start, bearer, gateways_on
from tests.waiting import until
from trunkline.bus import keys
from trunkline.bus.lanes import Inbox, Outbox
from trunkline.bus.messages import Attached, ClientEvent, Control, DownlinkAudio, Event, LinkResumed, Message
from trunkline.errors import BusError, NoPortLeft
from trunkline.sessions import NO_SPARE

SDP = {"content-type": "application/sdp"}


@pytest.fixture
async def gateways(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr("gateway.sessions.RESUME_ATTACH_S", 0.01)
    monkeypatch.setattr("gateway.sessions.SWEEP_S", 0.02)
    async with gateways_on(redis_url) as start:
        yield start


@pytest.fixture
async def gateway(gateways: Start) -> Gateway:
    return await gateways()


class Worker:
    """The other end of the bus."""

    def __init__(self, gateway: Gateway) -> None:
        self.told: list[Message] = []
        self.inbox = Inbox(gateway.redis, "worker", "worker")
        self.outbox = Outbox(gateway.redis, lambda lane: None)
        self._gateway = gateway
        self._seq = 0

    async def take(self, told: dict[str, Any]) -> None:
        record = await self._gateway.record(told)
        await self._gateway.records.attach(record, self.inbox.lane)
        self.outbox.send(record.gateway, Attached(record.session, 1, self.inbox.lane, 0))

    def say(self, gateway: Gateway, *messages: Message) -> None:
        for message in messages:
            self.outbox.send(keys.lane(gateway.sessions.process_id), message)


@pytest.fixture
async def worker(gateway: Gateway) -> AsyncIterator[Worker]:
    made = Worker(gateway)
    await made.inbox.open()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(made.outbox.run()), group.create_task(made.inbox.read(made.told.append))]
        yield made
        for task in tasks:
            task.cancel()


# --- a new call


async def test_an_offer_is_answered_with_a_session(gateway: Gateway) -> None:
    answer = await gateway.offer(conversation_id="mine", voice=None)
    told, link = answer.json(), gateway.links[0]
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{PATH}/{told['session_id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert (told["answer"], told["conversation_id"], told["rate_hz"]) == ("v=0\r\ns=answer\r\n", "mine", 16_000)
    assert link.rate_hz == 16_000
    record = await gateway.record(told)
    assert (record.tenant, record.backend, record.transport, record.rate_hz) == ("demo", "echo", "webrtc", 16_000)
    assert await gateway.redis.ask("XLEN", keys.dispatch("echo")) == 1
    assert len(gateway.admission) == 1


async def test_a_description_object_and_another_tenant(gateway: Gateway) -> None:
    answer = await gateway.offer(offer={"type": "offer", "sdp": OFFER}, tenant="model")
    assert answer.json()["rate_hz"] == 24_000, "what a Realtime model speaks; Opus has it"


async def test_whip(gateways: Start) -> None:
    gateway = await gateways(stun_urls="stun:a:3478", turn_urls="turn:b:3478", turn_secret="s")
    answer = await gateway.ask("POST", "/bridge?tenant=model&conversation_id=mine", content=OFFER, headers=SDP)
    assert (answer.status_code, answer.text) == (201, "v=0\r\ns=answer\r\n")
    assert answer.headers["content-type"] == "application/sdp"
    session = answer.headers["location"].removeprefix(f"{PATH}/")
    stun, turn = answer.headers.get_list("link")
    assert stun == '<stun:a:3478>; rel="ice-server"'
    assert 'credential-type="password"' in turn
    token = answer.headers["trunkline-resume"]
    record = await gateway.records.read(session)
    assert record is not None
    assert (record.tenant, record.conversation_id) == ("model", "mine")
    fragment = (
        f"a=ice-ufrag:x\r\na=ice-pwd:y\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na={CANDIDATE}\r\na=end-of-candidates\r\n"
    )
    headers = {"content-type": "application/trickle-ice-sdpfrag", **bearer(token)}
    assert (await gateway.ask("PATCH", f"/{session}", content=fragment, headers=headers)).status_code == 204
    assert gateway.links[0].candidates == [f"a={CANDIDATE}", ""]
    gateway.links[0].on_connected()
    again = await gateway.ask("POST", "/bridge", content=OFFER, headers={**SDP, "trunkline-resume": token})
    assert again.headers["location"].endswith(session)


async def test_a_voice_is_asked_for_as_any_other_change(gateway: Gateway, worker: Worker) -> None:
    told, _ = await gateway.called(voice="marin")
    await worker.take(told)
    await until(lambda: any(isinstance(message, ClientEvent) for message in worker.told))
    (asked,) = [message for message in worker.told if isinstance(message, ClientEvent)]
    assert (asked.name, asked.data) == ("session_update", {"session": {"voice": "marin"}})


async def test_nothing_of_the_answer_is_played_or_lost_before_the_wire_is_up(gateway: Gateway, worker: Worker) -> None:
    told, link = await gateway.called(connect=False)
    session = told["session_id"]
    await worker.take(told)
    pcm = bytes(16_000 * 2 // 10)
    event = Event(session, 1, 0, "transcript_delta", {"turn": 1})
    worker.say(gateway, event, *(DownlinkAudio(session, 1, i + 1, 1, i * 100, pcm) for i in range(3)))
    held = gateway.held(told)
    await until(lambda: held.bridge.heard.received_ms == 300)
    await asyncio.sleep(0.15)  # of the clock's playing
    assert (link.played, link.told) == ([], [])
    link.on_connected()
    assert [name for _, name in link.told] == ["transcript_delta"]
    assert link.played[0] == (1, 0)


async def test_who_never_connects_leaves_nothing(gateway: Gateway) -> None:
    told, link = await gateway.called(connect=False)
    link.finish("lost")
    await until(lambda: link.closed)
    assert (len(gateway.sessions), len(gateway.admission)) == (0, 0)
    assert gateway.sessions.find(told["session_id"]) is None


async def test_a_wire_that_takes_long_is_not_taken_for_a_lost_caller(gateways: Start) -> None:
    gateway = await gateways(resume_grace_s=1)
    told, link = await gateway.called(connect=False)
    gateway.held(told).lost_s = -1e9
    await asyncio.sleep(0.1)  # five sweeps
    assert gateway.held(told).lost_s is None
    link.on_connected()
    link.finish("lost")
    await until(lambda: gateway.held(told).lost_s is not None)


@pytest.mark.parametrize("outcome", ["stop", "refused", "ended"])
async def test_the_end_of_a_wire_is_the_end_of_the_session(gateway: Gateway, outcome: str) -> None:
    _, link = await gateway.called()
    link.finish(outcome)
    await until(lambda: link.closed)
    assert (len(gateway.sessions), len(gateway.admission)) == (0, 0)


async def test_a_link_that_breaks_inside_ends_its_own_call_only(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    told, link = await gateway.called()
    other, unharmed = await gateway.called()
    link.outcome.set_exception(RuntimeError("a fault of ours"))
    await until(lambda: link.closed)
    assert "its link broke" in caplog.text
    assert gateway.held(told).lost_s is not None, "its caller may come back; else the sweep ends it"
    assert gateway.held(other).bridge.link is unharmed


# --- what is refused


JSON_WRONG: dict[str, tuple[Any, str]] = {
    "no offer": ({}, "no_offer"),
    "an empty one": ({"offer": " "}, "no_offer"),
    "a number": ({"offer": 7}, "no_offer"),
    "an answer": ({"offer": {"type": "answer", "sdp": OFFER}}, "bad_sdp"),
    "a wrong one": ({"offer": "v=1"}, "bad_sdp"),
    "one of 64 KiB": ({"offer": "v" * (64 * 1024 + 1)}, "too_large"),
    "a list": ([], "bad_json"),
    "an unknown tenant": ({"offer": OFFER, "tenant": "nobody"}, "no_tenant"),
    "a tenant that is no name": ({"offer": OFFER, "tenant": ["x"]}, "bad_field"),
    "a voice without end": ({"offer": OFFER, "voice": "x" * 129}, "bad_field"),
    "received that is none": ({"offer": OFFER, "resume": "x", "received": 3}, "bad_field"),
    "a timestamp that is none": ({"offer": OFFER, "received": {"rtp_timestamp": -1}}, "bad_field"),
    "a token of nobody": ({"offer": OFFER, "resume": "a.0.b"}, "bad_token"),
}


@pytest.mark.parametrize(("asked", "code"), JSON_WRONG.values(), ids=JSON_WRONG.keys())
async def test_what_is_wrong_is_named(gateway: Gateway, asked: Any, code: str) -> None:
    answer = await gateway.ask("POST", "/bridge", json=asked)
    assert answer.status_code in (400, 401, 404, 413)
    told = answer.json()
    assert told["code"] == code
    assert told["message"]
    assert told["hint"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b"\xff", "application/sdp", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b"x" * 90_000, "application/json", 413),
        (b"x" * 1_000_000, "application/json", 413),
        (b"x" * 1_000_000, "application/sdp", 413),
    ],
)
async def test_bodies_that_are_none(gateway: Gateway, content: bytes, kind: str, status: int) -> None:
    answer = await gateway.ask("POST", "/bridge", content=content, headers={"content-type": kind})
    assert (answer.status_code, set(answer.json())) == (status, {"code", "message", "hint"})


async def test_a_body_without_a_length_is_bounded_too(gateway: Gateway) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(10_000)

    answer = await gateway.ask("POST", "/bridge", content=pieces(), headers=SDP)
    assert answer.status_code == 413


async def test_without_redis_a_caller_is_told_and_the_link_closed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise BusError("away")

    monkeypatch.setattr(gateway.sessions._dispatch, "offer", away)
    answer = await gateway.offer()
    assert (answer.status_code, answer.json()["code"]) == (503, "bus")
    assert answer.headers["retry-after"]
    assert gateway.links[0].closed
    assert (len(gateway.sessions), len(gateway.admission)) == (0, 0)


async def test_a_full_gateway_and_one_that_is_going(gateways: Start) -> None:
    gateway = await gateways(max_connections=1)
    _, link = await gateway.called()
    assert (await gateway.offer()).status_code == 429
    gateway.admission.draining = True
    answer = await gateway.offer()
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "draining", "1")
    gateway.door.send_away()
    assert link.is_sent_away
    assert gateway.links == [link]


# --- coming back


async def without_spare(gateway: Gateway, told: dict[str, Any]) -> None:
    """Until no token but the newest is good."""
    async with asyncio.timeout(5):
        while (await gateway.record(told)).spare != NO_SPARE:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_caller_comes_back_here_to_what_was_heard(gateway: Gateway, worker: Worker) -> None:
    told, first = await gateway.called()
    await worker.take(told)
    await until(lambda: gateway.held(told).bridge.worker)
    first.finish("lost")
    await until(lambda: first.closed)
    assert len(gateway.sessions) == 1
    received = {"seq": 7, "rtp_timestamp": 48 * 1240}
    again, second = await gateway.called(connect=False, resume=told["resume"], received=received)
    assert again["session_id"] == told["session_id"]
    assert again["resume"] != told["resume"]
    lane = keys.lane(gateway.sessions.process_id)
    await until(lambda: LinkResumed(told["session_id"], lane, 1, 3, 1240, 7) in worker.told)
    second.on_connected()
    assert gateway.held(told).bridge.link is second
    await without_spare(gateway, told)
    used = await gateway.offer(resume=told["resume"])
    assert (used.status_code, used.json()["code"]) == (401, "bad_token")
    assert gateway.links[-1] is second, "no link is made for a token that was used"


async def test_an_offer_whose_answer_was_lost_is_made_again(gateway: Gateway, worker: Worker) -> None:
    told, first = await gateway.called()
    await worker.take(told)
    _, unheard = await gateway.called(connect=False, resume=told["resume"])
    assert (await gateway.change(told, CANDIDATE)).status_code == 401, "of which connection?"
    again, third = await gateway.called(connect=False, resume=told["resume"])
    await until(lambda: unheard.closed)
    unheard.on_connected()
    assert gateway.held(told).bridge.link is first, "it serves until another is up"
    third.on_connected()
    assert gateway.held(told).bridge.link is third
    assert first.is_replaced
    await without_spare(gateway, told)
    assert (await gateway.offer(resume=told["resume"])).status_code == 401
    assert again["session_id"] == told["session_id"]
    assert len(gateway.sessions) == 1


async def test_an_offer_whose_answer_was_lost_is_made_again_elsewhere(
    gateway: Gateway, gateways: Start, worker: Worker
) -> None:
    other = await gateways()
    told, first = await gateway.called()
    await worker.take(told)
    first.finish("lost")
    _, unheard = await other.called(connect=False, resume=told["resume"])
    again, second = await gateway.called(resume=told["resume"])
    worker.say(other, Control(told["session_id"], "moved", {"link": 2}))
    await until(lambda: unheard.closed)
    await without_spare(gateway, told)
    assert gateway.held(again).bridge.link is second
    assert (len(gateway.sessions), len(other.sessions)) == (1, 0)
    assert not (await gateway.record(told)).closed


async def test_an_offer_whose_answer_was_lost_is_made_again_to_a_gateway_that_never_had_the_caller(
    gateway: Gateway, gateways: Start, worker: Worker
) -> None:
    other = await gateways()
    told, first = await gateway.called()
    await worker.take(told)
    first.finish("lost")
    _, unheard = await other.called(connect=False, resume=told["resume"])
    again, second = await other.called(connect=False, resume=told["resume"])
    await until(lambda: unheard.closed)
    assert other.held(again).bridge.ended is None, "the first was replaced: that is no end"
    second.on_connected()
    assert other.held(again).bridge.link is second
    assert not (await gateway.record(told)).closed


async def test_candidates_by_the_new_token_show_that_it_arrived(gateway: Gateway) -> None:
    told, _ = await gateway.called()
    again, _ = await gateway.called(connect=False, resume=told["resume"])
    assert (await gateway.record(told)).spare == 0
    assert (await gateway.change(again, CANDIDATE)).status_code == 204
    await without_spare(gateway, told)
    assert (await gateway.offer(resume=told["resume"])).status_code == 401


async def test_who_lost_the_answer_to_an_offer_may_hang_up(gateway: Gateway) -> None:
    told, first = await gateway.called()
    _, unheard = await gateway.called(connect=False, resume=told["resume"])
    assert (await gateway.hang_up(told)).status_code == 204
    await until(lambda: first.closed and unheard.closed)
    assert len(gateway.sessions) == 0


async def test_of_two_offers_at_once_with_one_token_one_has_the_session(gateway: Gateway, worker: Worker) -> None:
    told, _ = await gateway.called()
    await worker.take(told)
    answers = await asyncio.gather(*(gateway.offer(resume=told["resume"]) for _ in range(3)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    live = [link for link in gateway.links[1:] if not link.closed and not link.is_replaced]
    assert len(live) == 1
    for link in gateway.links[1:]:
        link.on_connected()
    assert gateway.held(told).bridge.link is live[0]
    granted = [answer.json()["resume"] for answer in answers if answer.status_code == 201]
    await without_spare(gateway, told)
    good = [token for token in granted if (await gateway.offer(resume=token)).status_code == 201]
    assert len(good) == 1


async def test_the_old_wire_serves_until_the_new_one_is_up(gateway: Gateway) -> None:
    told, first = await gateway.called()
    _, second = await gateway.called(connect=False, resume=told["resume"])
    assert gateway.held(told).bridge.link is first
    assert not first.is_replaced
    second.on_connected()
    assert first.is_replaced
    await until(lambda: first.closed)
    assert gateway.held(told).bridge.link is second
    assert (len(gateway.sessions), len(gateway.admission)) == (1, 1)


@pytest.mark.parametrize("since_ms", [0, 300])
async def test_what_the_old_wire_still_played_is_not_said_again(
    gateway: Gateway, worker: Worker, since_ms: int
) -> None:
    told, first = await gateway.called()
    await worker.take(told)
    session, pcm = told["session_id"], bytes(640)
    for at_ms in range(0, 400, 20):
        worker.say(gateway, DownlinkAudio(session, 1, at_ms // 20, 3, at_ms, pcm))
    await until(lambda: len(first.played) == 20)
    received = {"seq": 0, "rtp_timestamp": 48 * 100}
    _, second = await gateway.called(connect=False, resume=told["resume"], received=received)
    first.said = (3, 60 + since_ms)
    second.on_connected()
    assert second.played[0] == (3, max(100, 60 + since_ms))


async def test_the_old_wire_goes_on_when_the_new_one_comes_to_nothing(gateway: Gateway) -> None:
    told, first = await gateway.called()
    again, second = await gateway.called(connect=False, resume=told["resume"])
    second.finish("lost")
    await until(lambda: second.closed)
    assert gateway.held(told).bridge.link is first
    third, link = await gateway.called(resume=again["resume"])
    assert first.is_replaced
    assert gateway.held(third).bridge.link is link


async def test_of_two_that_come_back_at_once_the_last_has_the_session(gateway: Gateway) -> None:
    told, first = await gateway.called()
    again, second = await gateway.called(connect=False, resume=told["resume"])
    _, third = await gateway.called(connect=False, resume=again["resume"])
    assert second.is_replaced
    second.on_connected()
    assert gateway.held(told).bridge.link is first
    third.on_connected()
    assert gateway.held(told).bridge.link is third
    await until(lambda: second.closed and first.closed)
    assert len(gateway.sessions) == 1


async def test_who_comes_back_to_a_full_gateway_takes_its_old_place(gateways: Start) -> None:
    gateway = await gateways(max_connections=1)
    told, first = await gateway.called()
    assert (await gateway.offer(resume="a.0.b")).status_code == 401
    again, second = await gateway.called(connect=False, resume=told["resume"])
    assert len(gateway.admission) == 1
    assert (await gateway.offer()).status_code == 429
    second.finish("lost")
    await until(lambda: second.closed)
    assert (len(gateway.admission), (await gateway.offer()).status_code) == (1, 429), "the first has it still"
    _, third = await gateway.called(resume=again["resume"])
    await until(lambda: first.closed)
    assert len(gateway.admission) == 1
    gateway.admission.draining = True
    third.finish("lost")
    await until(lambda: third.closed)
    assert len(gateway.admission) == 0


async def test_who_comes_back_to_a_gateway_that_is_going_is_sent_to_another(gateway: Gateway) -> None:
    told, first = await gateway.called()
    gateway.admission.draining = True
    answer = await gateway.offer(resume=told["resume"])
    assert (answer.status_code, answer.json()["code"]) == (503, "draining")
    assert not first.is_replaced
    gateway.admission.draining = False
    assert (await gateway.offer(resume=told["resume"])).status_code == 201, "its token is not used up"


async def test_what_a_client_says_is_logged_as_text_and_no_more(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway.webrtc")
    kind = {"content-type": "application/json"}
    answers = [
        await gateway.ask("PATCH", "/x%1b[2J%0aERROR all is lost", content=b"{", headers=kind),
        await gateway.ask("POST", "/bridge", content=rb'{"offer":"v=0\r\n\ud800\u001b[2J"}', headers=kind),
    ]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert len(caplog.messages) == 2
    assert all(message.isprintable() for message in caplog.messages)


async def test_a_call_being_set_up_when_its_gateway_goes_is_not_ended(gateways: Start, gateway: Gateway) -> None:
    """Its client has the token, and comes to another."""
    going = await gateways()
    told, _ = await going.called(connect=False)
    going.door._serving._abort()  # type: ignore[union-attr]  # as the end of its process does
    await until(lambda: len(going.admission) == 0)
    assert not (await gateway.record(told)).closed
    assert going.held(told).bridge.ended is None


async def test_a_wrong_offer_uses_no_token_up(gateway: Gateway) -> None:
    told, _ = await gateway.called()
    assert (await gateway.offer(offer="v=1", resume=told["resume"])).status_code == 400
    assert (await gateway.offer(resume=told["resume"])).status_code == 201


async def test_a_caller_comes_back_by_another_gateway(gateway: Gateway, gateways: Start, worker: Worker) -> None:
    other = await gateways()
    told, first = await gateway.called()
    await worker.take(told)
    await until(lambda: gateway.held(told).bridge.worker)
    again, second = await other.called(resume=told["resume"], received={"seq": 9, "rtp_timestamp": 960})
    resumed = LinkResumed(told["session_id"], keys.lane(other.sessions.process_id), 1, -1, 0, 9)
    await until(lambda: resumed in worker.told)
    worker.say(gateway, Control(told["session_id"], "moved", {"link": 1}))
    await until(lambda: first.closed)
    assert first.is_replaced
    assert other.held(again).bridge.link is second
    assert not (await gateway.record(told)).closed
    assert len(gateway.sessions) == 0


# --- changes by any gateway


async def test_candidates_reach_the_link_through_any_gateway(gateway: Gateway, gateways: Start) -> None:
    other = await gateways()
    told, link = await gateway.called(connect=False)
    assert (await gateway.change(told, CANDIDATE)).status_code == 204
    assert (await other.change(told, {"candidate": "a=" + CANDIDATE, "sdpMid": "0"}, None)).status_code == 204
    await until(lambda: len(link.candidates) == 3)
    assert link.candidates == [CANDIDATE, f"a={CANDIDATE}", ""]
    assert (await gateway.change(told, "wrong")).json()["code"] == "bad_candidate"
    assert (await other.change(told, "wrong")).status_code == 204, "only its own gateway knows"
    link.on_connected()
    assert (await other.change(told, CANDIDATE)).status_code == 204
    await until(lambda: len(link.candidates) == 4)


async def test_a_client_hangs_up_through_any_gateway(gateway: Gateway, gateways: Start) -> None:
    other = await gateways()
    told, link = await gateway.called()
    assert (await other.hang_up(told)).status_code == 204
    await until(lambda: link.closed)
    assert link.ended == "hung_up"
    assert (await gateway.record(told)).closed == "hung_up"
    connecting, waits = await gateway.called(connect=False)
    assert (await gateway.hang_up(connecting)).status_code == 204
    await until(lambda: waits.closed)
    assert (await gateway.hang_up(connecting)).status_code == 404
    assert (len(gateway.sessions), len(gateway.admission)) == (0, 0)


async def test_without_the_newest_token_nothing_is_changed(gateway: Gateway) -> None:
    told, _ = await gateway.called()
    other, _ = await gateway.called()
    again, link = await gateway.called(resume=told["resume"])
    for token in ("x", told["resume"], other["resume"], again["resume"][:-1], again["resume"] + "x"):
        answer = await gateway.change(again, CANDIDATE, token=token)
        assert (answer.status_code, answer.json()["code"]) == (401, "bad_token"), token
        assert (await gateway.hang_up({**again, "resume": token})).status_code == 401, token
    assert (await gateway.ask("DELETE", f"/{told['session_id']}")).status_code == 401
    assert link.candidates == []
    assert gateway.held(again).bridge.ended is None


async def test_too_many_candidates(gateway: Gateway) -> None:
    told, link = await gateway.called()
    for wrong, code in (([CANDIDATE] * 21, "too_many_candidates"), ([CANDIDATE * 20], "bad_candidate")):
        answer = await gateway.change(told, *wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert (await gateway.change(told, *[CANDIDATE] * 10_000)).status_code == 413
    assert (await gateway.change(told, 7)).json()["code"] == "bad_candidate"
    assert link.candidates == []


async def test_what_belongs_to_no_session_is_not_found(gateway: Gateway) -> None:
    told, link = await gateway.called()
    await gateway.redis.ask("DEL", keys.session(told["session_id"]))
    assert (await gateway.change(told, CANDIDATE)).status_code == 404
    assert (await gateway.hang_up(told)).status_code == 404
    link.finish("stop")


async def test_a_gateway_that_died_takes_no_candidates_but_its_caller_can_hang_up(
    gateway: Gateway, gateways: Start
) -> None:
    other = await gateways()
    told, _ = await gateway.called()
    await gateway.sessions._inbox.leave()
    assert (await other.change(told, CANDIDATE)).status_code == 404
    assert (await other.hang_up(told)).status_code == 204
    assert (await gateway.record(told)).closed == "hung_up"


# --- pages of elsewhere


async def test_ice_servers_are_told_to_allowed_origins(gateways: Start) -> None:
    gateway = await gateways(allowed_origins="https://good.example", turn_urls="turn:t:3478", turn_secret="s")
    answer = await gateway.ask("GET", "/config", headers={"origin": "https://good.example"})
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["ttl_s"] == 3600
    (server,) = answer.json()["ice_servers"]
    assert server["urls"] == ["turn:t:3478"]
    assert server["username"]
    assert (await gateway.ask("GET", "/config")).status_code == 200
    evil = await gateway.ask("GET", "/config", headers={"origin": "https://evil.example"})
    assert (evil.status_code, evil.json()["code"]) == (403, "origin")
    assert "access-control-allow-origin" not in evil.headers


async def test_without_servers_none_are_told(gateway: Gateway) -> None:
    assert (await gateway.ask("GET", "/config")).json()["ice_servers"] == []


async def test_pages_of_allowed_origins_may_call(gateways: Start) -> None:
    gateway = await gateways(allowed_origins="https://good.example")
    for origin in ("https://good.example", gateway.origin):
        asked = {"origin": origin, "access-control-request-method": "PATCH"}
        allowed = await gateway.ask("OPTIONS", "/bridge", headers=asked)
        assert allowed.status_code == 204
        assert allowed.headers["access-control-allow-origin"] == origin
        assert "PATCH" in allowed.headers["access-control-allow-methods"]
        assert "authorization" in allowed.headers["access-control-allow-headers"]
        answer = await gateway.ask("POST", "/bridge", json={"offer": OFFER}, headers={"origin": origin})
        assert answer.status_code == 201
        assert "location" in answer.headers["access-control-expose-headers"]
        refused = await gateway.ask("POST", "/bridge", json={"offer": "v=1"}, headers={"origin": origin})
        assert refused.headers["access-control-allow-origin"] == origin, "the page is to read why"
    for origin in ("https://evil.example", "null", "https://good.example.evil.example"):
        asked = {"origin": origin, "access-control-request-method": "POST"}
        assert (await gateway.ask("OPTIONS", "/bridge", headers=asked)).status_code == 403
        answer = await gateway.ask("POST", "/bridge", json={"offer": OFFER}, headers={"origin": origin})
        assert answer.status_code == 403
    assert len(gateway.links) == 4, "nothing was done for the others"


# --- between two wires


async def test_a_wire_that_is_still_coming_is_replaced_when_its_caller_is_elsewhere(
    gateway: Gateway, gateways: Start, worker: Worker
) -> None:
    other = await gateways()
    told, first = await gateway.called(connect=False)
    await worker.take(told)
    await other.called(resume=told["resume"])
    worker.say(gateway, Control(told["session_id"], "moved", {"link": 1}))
    await until(lambda: first.closed)
    assert first.is_replaced
    assert not (await gateway.record(told)).closed
    assert (len(gateway.sessions), len(other.sessions)) == (0, 1)


async def test_a_session_that_ends_while_its_wire_is_coming_ends_the_wire(gateway: Gateway, worker: Worker) -> None:
    told, first = await gateway.called()
    await worker.take(told)
    _, second = await gateway.called(connect=False, resume=told["resume"])
    first.finish("lost")
    await until(lambda: first.closed)
    worker.say(gateway, Control(told["session_id"], "hang_up"))
    await until(lambda: second.closed)
    assert second.ended == "hung_up"
    second.on_connected()
    assert gateway.sessions.find(told["session_id"]) is None


async def test_a_gateway_without_a_port_left_sends_callers_elsewhere(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> str:
        raise NoPortLeft("no UDP port from 40000 to 40001 is free at 192.0.2.7")

    monkeypatch.setattr(FakeLink, "open", full)
    answer = await gateway.offer()
    assert (answer.status_code, answer.json()["code"]) == (503, "no_port_left")
    assert answer.headers["retry-after"]
    assert "192.0.2.7" not in answer.text
    assert len(gateway.admission) == 0
