from __future__ import annotations

import asyncio
import json
import socket
from email.utils import formatdate

import pytest
from websockets.asyncio.server import ServerConnection

from tests.standins.realtime import (
    Close,
    Drop,
    Garbage,
    Mute,
    NeverAnswer,
    Realtime,
    Refuse,
    Say,
    SlowHandshake,
)
from tests.standins.realtime.faults import Fault
from tests.unit.relay.linked import PATIENT_S, link_to, refused, server, until
from trunkline.errors import SettingsError
from trunkline.tenants import Tenant
from workers.relay import protocol, websocket
from workers.relay.trouble import Kind
from workers.relay.websocket import make_client

# --- a session


async def test_a_session_with_text_and_audio_both_ways() -> None:
    audio = protocol.format_for(8000)
    async with Realtime(answer=lambda _: Say("welcome")) as standin, link_to(standin.url, audio) as link:
        await link.send(protocol.session_update(Tenant(id="acme"), audio))
        await until(link, "session.updated")
        assert standin.session.config["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        await link.send(protocol.user_text("hello"))
        await link.send(protocol.respond())
        events = await until(link, "response.done")
        deltas = [event["delta"] for event in events if event["type"] == "response.output_audio.delta"]
        response = standin.session.responses[-1]
        assert sum(map(len, deltas)) == response.audio_ms * 16, "PCM at 8 kHz"
        assert response.wire()["status"] == "completed"
        for _ in range(50):
            link.append(bytes(320))
        await standin.wait_for(lambda it: it.session.appends == 50)
        assert standin.session.appended_ms == 1000


async def test_a_link_knows_its_session_and_when_it_ends() -> None:
    async with Realtime(lifetime_s=1800) as standin:
        before_s = asyncio.get_running_loop().time()
        async with link_to(standin.url) as link:
            assert link.session_id
            assert before_s <= link.opened_s <= asyncio.get_running_loop().time()
            assert 1800 - PATIENT_S < link.expires_s <= 1802  # both ends count whole seconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [(formatdate(1_000_000_000, usegmt=True), 1800), ("the day before yesterday", 3600), ("", 3600)],
)
async def test_a_session_ends_by_the_models_clock_not_ours(date: str, seconds: float) -> None:
    async def handle(connection: ServerConnection) -> None:
        created = {"type": "session.created", "session": {"expires_at": 1_000_000_000 + 1800}}
        await connection.send(json.dumps(created))
        await connection.wait_closed()

    async with server(handle, date=date) as url, link_to(url) as link:
        assert link.expires_s == seconds


@pytest.mark.parametrize("expires_at", [None, "soon", 0, 1e12, True, float("nan")])
async def test_a_clock_that_makes_no_sense_does_not_shorten_a_session(expires_at: object) -> None:
    async def handle(connection: ServerConnection) -> None:
        created = {"type": "session.created", "session": {"id": "sess_1", "expires_at": expires_at}}
        await connection.send(json.dumps(created))
        await connection.wait_closed()

    async with server(handle) as url, link_to(url) as link:
        assert (link.session_id, link.expires_s) == ("sess_1", 3600)


async def test_a_session_that_does_not_describe_itself_is_one_all_the_same() -> None:
    async def handle(connection: ServerConnection) -> None:
        await connection.send('{"type": "rate_limits.updated"}')
        await connection.send('{"type": "session.created"}')
        await connection.wait_closed()

    async with server(handle) as url, link_to(url) as link:
        assert (link.session_id, link.expires_s) == ("", 3600)


async def test_the_api_key_and_the_model_are_sent_as_the_vendor_wants_them() -> None:
    asked: list[tuple[str, str | None, str | None]] = []

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        headers = connection.request.headers
        asked.append((connection.request.path, headers.get("Authorization"), headers.get("OpenAI-Beta")))
        await connection.send('{"type": "session.created"}')
        await connection.wait_closed()

    async with server(handle) as url, link_to(url):
        assert asked == [("/v1/realtime?model=gpt-realtime-2.1", "Bearer key", None)]


async def test_unknown_events_and_fields_pass_through() -> None:
    async with Realtime() as standin, link_to(standin.url) as link:
        standin.session.inject(Garbage("unknown_type"))
        assert (await until(link, "response.daydream.delta"))[-1]["delta"] == "hm"
        standin.session.inject(Garbage("unknown_fields"))
        assert (await until(link, "rate_limits.updated"))[-1]["colour"] == "blue"


async def test_an_answer_that_is_read_late_is_all_there() -> None:
    """More than is read ahead: the model waits, nothing is dropped."""
    async with Realtime(answer=lambda _: Say("one two three four"), speed=0, chunk_ms=5) as standin:
        async with link_to(standin.url) as link:
            await link.send(protocol.session_update(Tenant(id="acme"), protocol.PCM))
            await link.send(protocol.respond())
            await standin.wait_for(lambda it: it.session.responses)
            await asyncio.sleep(0.2)
            events = await until(link, "response.done")
        deltas = [event["delta"] for event in events if event["type"] == "response.output_audio.delta"]
        assert sum(map(len, deltas)) == 4 * standin.options.word_ms * 48


async def test_a_request_of_ours_that_is_wrong_is_an_event_and_no_end() -> None:
    async with Realtime() as standin, link_to(standin.url) as link:
        await link.send(protocol.cancel())
        assert (await until(link, "error"))[-1]["error"]["code"] == "response_cancel_not_active"
        await link.send(protocol.user_text("hello"))
        await until(link, "conversation.item.done")


# --- refusals


@pytest.mark.parametrize(
    ("fault", "kind", "retry_after_s"),
    [
        (Refuse(401), Kind.REFUSED, None),
        (Refuse(403), Kind.REFUSED, None),
        (Refuse(429, retry_after_s=7), Kind.RATE_LIMITED, 7.0),
        (Refuse(500), Kind.UNAVAILABLE, None),
        (Refuse(503), Kind.UNAVAILABLE, None),
        (Garbage("malformed"), Kind.UNAVAILABLE, None),
        (Garbage("deep"), Kind.UNAVAILABLE, None),
        (Garbage("binary"), Kind.UNAVAILABLE, None),
        (Drop(), Kind.UNAVAILABLE, None),
        (Close(1013, "try again later"), Kind.UNAVAILABLE, None),
        (Close(3000, "invalid_request_error.invalid_api_key"), Kind.REFUSED, None),
    ],
)
async def test_a_session_that_is_refused(fault: Fault, kind: Kind, retry_after_s: float | None) -> None:
    async with Realtime() as standin:
        standin.inject(fault)
        error = await refused(standin.url)
        assert (error.kind, error.retry_after_s, error.retryable) == (kind, retry_after_s, kind.retryable)
        assert len(standin.sessions) + len(standin.refused) == 1  # nobody tried again behind our back


async def test_a_refusal_says_why() -> None:
    async with Realtime(api_key="right") as standin:
        error = await refused(standin.url)
        assert str(error) == "openai_realtime: HTTP 401: invalid_api_key: Incorrect API key provided."


async def test_an_error_in_place_of_a_session_is_a_refusal() -> None:
    async def handle(connection: ServerConnection) -> None:
        error = {"type": "invalid_request_error", "code": "model_not_found", "message": "There is no such model."}
        await connection.send(json.dumps({"type": "error", "error": error}))
        await connection.wait_closed()

    async with server(handle) as url:
        error = await refused(url)
        assert (error.kind, error.reason) == (Kind.REFUSED, "model_not_found: There is no such model.")


@pytest.mark.parametrize("fault", [NeverAnswer(), SlowHandshake(ms=1500), Mute()])
async def test_a_model_that_never_answers_is_given_up_at_the_deadline(fault: Fault) -> None:
    async with Realtime() as standin:
        standin.inject(fault)
        error = await refused(standin.url, timeout_s=0.3)
        assert (error.kind, error.reason) == (Kind.UNAVAILABLE, "no session within 0.3 s")


async def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = await refused(f"ws://127.0.0.1:{port}/v1")
    assert error.kind is Kind.UNAVAILABLE
    assert "cannot be reached" in error.reason


async def test_a_server_that_speaks_something_else() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        error = await refused(f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1")
    assert error.kind is Kind.UNAVAILABLE


# --- settings


async def test_addresses_and_key_come_from_the_environment() -> None:
    async with make_client({"OPENAI_API_KEY": " key\n", "OPENAI_BASE_URL": "https://proxy.example/v1"}) as client:
        assert client.api_key == "key"
        assert str(client.base_url) == "https://proxy.example/v1/"
        assert client.websocket_base_url is None
        assert client.max_retries == 0
        assert "realtime" in vars(client), "else it is imported in the first call"
    async with make_client({"OPENAI_API_KEY": "key", websocket.URL_VARIABLE: "wss://rt.example/v1"}) as client:
        assert str(client.base_url) == "https://api.openai.com/v1/"
        assert client.websocket_base_url == "wss://rt.example/v1"


@pytest.mark.parametrize("environment", [{}, {"OPENAI_API_KEY": " "}])
def test_a_missing_key_is_said_with_what_to_set(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        make_client(environment)


@pytest.mark.parametrize("key", ["secret\nwith: a header", "secret\0", "sécret"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY has characters that no key has") as refusal:
        make_client({"OPENAI_API_KEY": key})
    assert "cret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://api.openai.com/v1",
        "wss://",
        "wss://[bad",
        "wss://host:port/v1",
        "wss://host:99999/v1",
        "wss://host/v1#here",
        f"wss://{'a' * 70}.example/v1",
    ],
)
def test_an_address_that_is_wrong_is_said_with_one_that_is_right(url: str) -> None:
    with pytest.raises(SettingsError, match=r"TRUNKLINE_OPENAI_REALTIME_URL must be .* wss://api"):
        make_client({"OPENAI_API_KEY": "key", websocket.URL_VARIABLE: url})
    with pytest.raises(SettingsError, match=r"OPENAI_BASE_URL must be .* https://api"):
        make_client({"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": url.replace("wss", "https")})


async def test_a_proxy_that_needs_a_package_is_a_matter_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("all_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "socks5://127.0.0.1:9")
    with pytest.raises(SettingsError, match="proxy"):
        make_client({"OPENAI_API_KEY": "key"})
