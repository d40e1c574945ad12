from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from gateway import phone as module
from gateway.signatures import Account
from gateway.twiml import APOLOGY
from tests.standins.twilio import ACCOUNT_SID, twiml
from tests.unit.gateway.phone import ACCOUNT, PUBLIC, Gateway, Start, new_sid, ringing, verbs
from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.errors import BusError
from trunkline.sessions import Record


def warnings(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING)


async def test_a_call_is_answered_with_a_stream(gateway: Gateway) -> None:
    form = ringing()
    answer = await gateway.post("/twiml", form)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    (connected,) = twiml.parse(answer.text)
    assert isinstance(connected, twiml.Connect)
    assert (connected.action, connected.method) == (f"{PUBLIC}/twiml/return", "POST")
    assert connected.stream.url == "wss://gw.example.com/websocket"
    assert connected.stream.status_callback == f"{PUBLIC}/twiml/status"
    token = connected.stream.parameters["token"]
    assert await gateway.redis.ask("GET", keys.stream_token(token)) == form["CallSid"].encode()
    assert 0 < await gateway.redis.ask("TTL", keys.stream_token(token)) <= 30
    assert token != await gateway.token(form), "every stream has its own"


async def test_what_is_not_signed_is_refused(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    form = ringing()
    for headers, why in (
        ({"x_twilio_signature": "none"}, "not signed"),
        ({"x_twilio_signature": ""}, "not signed"),
        ({"x_twilio_signature": "L/OH5YylLD5NRKLltdqwSvS0BnU="}, "signature is not ours"),
        ({"x_twilio_signature": "\xe9" * 40}, "signature is not ours"),
        ({"url": "https://gw.example.com/twiml/"}, "signature is not ours"),
        ({"url": "http://gw.example.com/twiml"}, "signature is not ours"),
        ({"url": f"{gateway.origin}/twiml"}, "signature is not ours"),
        ({"url": "https://evil.example/twiml", "host": "evil.example"}, "signature is not ours"),
        ({"content_type": "application/json"}, "not application/x-www-form-urlencoded"),
        ({"content_type": "multipart/form-data; boundary=x"}, "not application/x-www-form-urlencoded"),
    ):
        caplog.clear()
        answer = await gateway.post("/twiml", form, **headers)
        assert answer.status_code in (403, 415), headers
        assert why in warnings(caplog)
    assert await gateway.redis.ask("KEYS", keys.call("*")) == []


@pytest.mark.parametrize("path", ["/twiml", "/twiml/return", "/twiml/status"])
async def test_a_form_that_was_changed_is_refused(gateway: Gateway, path: str) -> None:
    form = ringing()
    signed = (await gateway.post(path, form)).request.headers["x-twilio-signature"]
    changed = {**form, "To": "+15550999"}
    assert (await gateway.post(path, changed, x_twilio_signature=signed)).status_code == 403
    assert (await gateway.post(path, {**form, "New": "1"}, x_twilio_signature=signed)).status_code == 403


async def test_a_signature_with_the_port_counts(gateways: Start) -> None:
    with_port = await gateways(public_url="https://gw.example.com:8443")
    form = ringing()
    for url in ("https://gw.example.com:8443/twiml", "https://gw.example.com/twiml"):
        assert (await with_port.post("/twiml", form, url=url)).status_code == 200
    assert (
        'url="wss://gw.example.com:8443/websocket"'
        in (await with_port.post("/twiml", form, url="https://gw.example.com:8443/twiml")).text
    )


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"public_url": ""}, "TRUNKLINE_PUBLIC_URL"),
        ({"account": Account(ACCOUNT_SID, "")}, "TWILIO_AUTH_TOKEN"),
    ],
)
async def test_what_cannot_be_checked_is_refused_and_what_is_missing_named(
    gateways: Start, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], why: str
) -> None:
    gateway = await gateways(**settings)
    assert (await gateway.post("/twiml", ringing())).status_code == 403
    assert why in warnings(caplog)
    assert ACCOUNT.auth_token not in caplog.text


async def test_without_signatures_the_request_says_where_we_are(gateways: Start) -> None:
    gateway = await gateways(Account(), public_url="", twilio_signatures=False)
    answer = await gateway.post("/twiml", ringing(), x_twilio_signature="none")
    assert f'url="ws{gateway.origin.removeprefix("http")}/websocket"' in answer.text
    assert f'action="{gateway.origin}/twiml/return"' in answer.text


async def test_another_account_is_refused(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    assert (await gateway.post("/twiml", ringing(AccountSid="AC" + "6" * 32))).status_code == 403
    assert "of account 'AC666" in warnings(caplog)


async def test_a_token_never_shows(caplog: pytest.LogCaptureFixture) -> None:
    assert ACCOUNT.auth_token not in repr(ACCOUNT)


async def test_a_number_of_nobody_is_rejected(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    for number in ("+15550999", "", "client:joe", "x" * 5000):
        caplog.clear()
        answer = await gateway.post("/twiml", ringing(To=number))
        assert (answer.status_code, verbs(answer.text)) == (200, ["Reject"])
        assert "is no tenant's number" in warnings(caplog)
    assert await gateway.redis.ask("KEYS", keys.call("*")) == []


async def test_a_call_without_a_name_is_refused(gateway: Gateway) -> None:
    for sid in ("", "CA 1", "CA1\n", "é", "x" * 100):
        assert (await gateway.post("/twiml", ringing(CallSid=sid))).status_code == 400


async def test_other_methods_and_sizes_are_refused(gateway: Gateway) -> None:
    assert (await gateway.post("/twiml", ringing(More="x" * 20_000))).status_code == 413
    assert (await gateway.post("/twiml", ringing() | {f"f{n}": "" for n in range(300)})).status_code == 400
    async with httpx.AsyncClient(base_url=gateway.origin, trust_env=False) as client:
        assert (await client.get("/twiml")).status_code == 405


async def live_session(gateway: Gateway, form: dict[str, str]) -> Record:
    """As if the call's stream had begun somewhere."""
    await gateway.token(form)
    session = await gateway.calls.claim(form["CallSid"], "s-" + form["CallSid"])
    record = Record(session, "acme", "echo", 8000, "lane:elsewhere", "twilio", form["CallSid"], worker="lane:w")
    await gateway.records.write(record)
    return record


@pytest.mark.parametrize("path", ["/twiml", "/twiml/return"])
async def test_a_live_session_gets_another_stream(gateway: Gateway, path: str) -> None:
    form = ringing()
    record = await live_session(gateway, form)
    answer = await gateway.post(path, {**form, "CallStatus": "in-progress"})
    assert verbs(answer.text) == ["Connect"]
    known = await gateway.calls.read(form["CallSid"])
    assert known is not None
    assert known.session == record.session


async def test_a_session_that_is_over_hangs_up_and_a_new_webhook_begins_anew(gateway: Gateway) -> None:
    form = ringing()
    record = await live_session(gateway, form)
    await gateway.records.close(record.session, "over")
    assert verbs((await gateway.post("/twiml/return", form)).text) == ["Hangup"]
    assert verbs((await gateway.post("/twiml", form)).text) == ["Connect"]
    known = await gateway.calls.read(form["CallSid"])
    assert known is not None
    assert (known.session, known.ended) == ("", "")


async def test_what_was_written_down_at_the_end_is_done_at_every_request(gateway: Gateway) -> None:
    form = ringing()
    await live_session(gateway, form)
    assert await gateway.calls.end(form["CallSid"], "transferred", "+15550123")
    assert not await gateway.calls.end(form["CallSid"], "completed")
    for _ in range(2):
        answer = await gateway.post("/twiml/return", form)
        assert twiml.parse(answer.text) == (twiml.Dial(("+15550123",)),)


async def test_a_call_that_nobody_knows_is_hung_up(gateway: Gateway) -> None:
    assert verbs((await gateway.post("/twiml/return", ringing())).text) == ["Hangup"]


async def test_a_call_whose_streams_come_to_nothing_waits_and_then_hears_an_apology(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TRIES", 4)
    form = ringing()
    answers = [await gateway.post("/twiml", form)] + [await gateway.post("/twiml/return", form) for _ in range(4)]
    assert [verbs(answer.text) for answer in answers] == [
        ["Connect"],
        ["Connect"],
        ["Pause", "Connect"],
        ["Pause", "Connect"],
        ["Say", "Hangup"],
    ]


class Lane:
    """A process's inbox, as Redis has it."""

    def __init__(self, redis: Redis, lane: str) -> None:
        self._redis, self._lane = redis, lane

    async def open(self) -> None:
        await self._redis.ask("XADD", self._lane, "*", b"b", b"")

    async def told(self) -> int:
        return int(await self._redis.ask("XLEN", self._lane)) - 1


@pytest.mark.parametrize("path", ["/twiml", "/twiml/return", "/twiml/status"])
@pytest.mark.parametrize("status", ["completed", "busy", "failed", "no-answer", "canceled"])
async def test_a_call_that_is_over_ends_its_session_wherever_it_is(gateway: Gateway, path: str, status: str) -> None:
    form = ringing()
    record = await live_session(gateway, form)
    worker = Lane(gateway.redis, record.worker)  # its gateway is gone
    await worker.open()
    for _ in range(2):
        answer = await gateway.post(path, {**form, "CallStatus": status})
        assert answer.status_code == (204 if path == "/twiml/status" else 200)
        assert answer.text == "" or verbs(answer.text) == []
        assert await worker.told() == 1, "once"
    assert verbs((await gateway.post("/twiml/return", {**form, "CallStatus": "in-progress"})).text) == ["Hangup"]


async def test_a_session_nobody_has_taken_yet_is_not_to_be_taken(gateway: Gateway) -> None:
    form = ringing()
    record = await live_session(gateway, form)
    record.worker = ""
    await gateway.records.write(record)
    await gateway.post("/twiml/status", {**form, "CallStatus": "completed"})
    after = await gateway.records.read(record.session)
    assert after is not None
    assert after.closed == "hung_up"


async def test_what_twilio_says_of_a_stream_is_in_the_log(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    form = {"AccountSid": ACCOUNT_SID, "CallSid": new_sid(), "StreamSid": "MZ0a", "StreamName": "x"}
    for event in ("stream-started", "stream-stopped"):
        assert (await gateway.post("/twiml/status", {**form, "StreamEvent": event})).status_code == 204
        assert f"call {form['CallSid']}, stream MZ0a: Twilio says '{event}'" in caplog.text
    assert warnings(caplog) == ""
    failed = {**form, "StreamEvent": "stream-error", "StreamError": "31920\nforged line", "StreamSid": "MZ\n"}
    assert (await gateway.post("/twiml/status", failed)).status_code == 204
    assert "stream 'MZ\\n': Twilio reports an error: '31920\\nforged line'" in warnings(caplog)
    assert (await gateway.post("/twiml/status", {**form, "CallStatus": "ringing"})).status_code == 204


async def test_while_redis_is_away_twilio_asks_again_and_then_the_caller_is_told(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(*command: object, **options: object) -> None:
        raise BusError("Redis: away")

    monkeypatch.setattr(gateway.redis, "ask", away)
    path, asked = "/twiml", 0
    while True:
        answer = await gateway.post(path, ringing())
        first, second = twiml.parse(answer.text)
        if isinstance(second, twiml.Hangup):
            assert first == twiml.Say(APOLOGY)
            break
        assert first == twiml.Pause(module.REDIS_PAUSE_S)
        assert isinstance(second, twiml.Redirect)
        path = second.url.removeprefix(PUBLIC)
        asked += 1
    assert asked == module.REDIS_TRIES - 1
    assert (await gateway.post("/twiml/status", ringing(CallStatus="completed"))).status_code == 204
    assert "Traceback" not in caplog.text


async def test_a_tenant_that_cannot_be_read_is_an_apology(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    await gateway.redis.ask("HSET", keys.TENANTS, "acme", '{"id": "acme", "prompt": 7}')
    assert verbs((await gateway.post("/twiml", ringing())).text) == ["Say", "Hangup"]
    assert "acme" in warnings(caplog)
