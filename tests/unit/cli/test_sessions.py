"""`trunkline sessions`: what it shows, what it moves, and what it says where it cannot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

from cli import sessions
from cli.main import app
from cli.sessions import CannotMoveError, move_to
from tests.unit.workers.stage import Probe, Stage, staged
from tests.waiting import until
from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.errors import SettingsError
from trunkline.sessions import Record, Records
from trunkline.tenants import Directory, Tenant
from workers import serving

TENANT = Tenant(id="acme", backend="probe", fallback_backend="other")
ONE = Record("one", "acme", "cascade", 16000, "lane:gateway-1", "twilio", "c")


@pytest.fixture
async def stage(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with staged(redis_url, TENANT) as made:
        monkeypatch.setattr(serving, "make_backend", lambda *_: Probe(made.begun))
        monkeypatch.setattr(sessions, "backends", lambda: ["cascade", "other", "probe"])
        yield made


async def why_not(stage: Stage, session: str, backend: str) -> str:
    with pytest.raises(CannotMoveError) as raised:
        await move_to(stage.redis, session, backend, 5)
    return str(raised.value)


async def served(stage: Stage) -> None:
    stage.worker("worker-1", backends="probe,other")
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])


async def test_a_session_moves_and_the_command_says_when(stage: Stage) -> None:
    await served(stage)
    assert await move_to(stage.redis, "one", "other", 5)
    assert (await stage.record("one")).backend == "other"
    assert stage.begun == ["one", "one"]
    assert await move_to(stage.redis, "one", "other", 0), "it is there already"


async def test_a_session_that_does_not_rest_is_waited_for_no_longer_than_asked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.session.LiveSession.rest", lambda self, at_rest: None)
    await served(stage)
    assert not await move_to(stage.redis, "one", "other", 0.1)
    assert (await stage.record("one")).backend == "probe"


@pytest.mark.parametrize("later_s", [0.0, 0.2])
async def test_a_session_that_its_new_backend_gives_back_has_not_moved(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, later_s: float
) -> None:
    """As a relay does whose key is missing: the call goes on as before, and whoever moved it is told."""

    def make(name: str, *_: object) -> Probe:
        if name == "other":
            time.sleep(later_s)
            raise SettingsError("its key is missing")
        return Probe(stage.begun)

    monkeypatch.setattr(serving, "make_backend", make)
    stage.worker("worker-1", backends="probe,other", lease_ms=2000)
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    assert await why_not(stage, "one", "other") == (
        "'other' could not go on with session one, which is back with 'probe': the workers' log says why"
    )
    await until(lambda: stage.begun == ["one", "one"])


async def test_what_cannot_be_moved_is_said_with_why(stage: Stage) -> None:
    stage.worker("worker-1", backends="probe")
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    assert await why_not(stage, "nobody", "other") == (
        "there is no session 'nobody': `trunkline sessions list` shows all there are"
    )
    assert await why_not(stage, "one", "teleport") == "there is no backend 'teleport', but cascade, other, probe"
    assert await why_not(stage, "one", "cascade") == (
        "tenant acme has no backend 'cascade', but probe and other: see its fallback_backend"
    )
    assert await why_not(stage, "one", "other") == "no worker serves 'other', or has room for another session"
    await stage.records.close("one", "over")
    assert await why_not(stage, "one", "other") == "session one is over: over"


async def test_a_session_between_two_workers_is_not_told_and_that_is_said(stage: Stage) -> None:
    await stage.redis.ask("SET", keys.room("other"), "somebody")
    await stage.records.write(replace(ONE, backend="probe"))
    assert "no worker has session one yet" in await why_not(stage, "one", "other")
    await stage.records.write(replace(ONE, backend="probe", worker="lane:dead"))
    assert "the worker of session one is gone" in await why_not(stage, "one", "other")


async def test_a_session_that_ends_meanwhile_has_not_moved(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.session.LiveSession.rest", lambda self, at_rest: None)
    await served(stage)
    async with asyncio.TaskGroup() as group:
        saying = group.create_task(why_not(stage, "one", "other"))
        await until(lambda: stage.hosts[0]._served["one"].live.move_to == "other")
        await stage.records.close("one", "hung_up")
    assert saying.result() == "session one is over: hung_up"


def test_the_backends_that_there_are() -> None:
    assert sessions.backends() == ["cascade", "echo", "relay"]


# --- the command line


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["sessions", *arguments])


@pytest.fixture
def records(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """A deployment with these sessions, none of which has a worker that lives."""
    there = [
        replace(ONE, session="waits", tenant="demo", backend="echo", transport="websocket"),
        replace(ONE, session="served", worker="lane:worker-1"),
        replace(ONE, session="left", worker="lane:worker-2"),
        replace(ONE, session="over", closed="hung_up"),
    ]

    async def write() -> None:
        redis = Redis(redis_url)
        await Directory(redis).put([TENANT])
        for record in there:
            await Records(redis).write(record)
        await Records(redis).blame("a trace of one")
        await redis.ask("HSET", keys.session("damaged"), "tenant", "acme", "link", "x")
        await redis.ask("XADD", "lane:worker-1", "*", "b", "")
        await redis.close()

    asyncio.run(write())
    monkeypatch.setenv("TRUNKLINE_REDIS_URL", redis_url)
    return there


def test_every_session_that_is_not_over_is_listed(records: list[Record]) -> None:
    result = run("list")
    assert result.exit_code == 0
    assert [line.split(maxsplit=4) for line in result.stdout.splitlines()] == [
        ["left", "acme", "cascade", "twilio", "worker-2, which is gone"],
        ["served", "acme", "cascade", "twilio", "worker-1"],
        ["waits", "demo", "echo", "websocket", "waits for a worker"],
    ]


def test_no_sessions(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_REDIS_URL", redis_url)
    assert run("list").stdout == "no sessions\n"


def test_what_cannot_be_moved_ends_with_two(records: list[Record]) -> None:
    result = run("move", "over", "relay")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "trunkline sessions: session over is over: hung_up\n"


def test_a_record_that_cannot_be_read_is_said(records: list[Record]) -> None:
    result = run("move", "damaged", "relay")
    assert result.exit_code == 2
    assert result.stderr.startswith("trunkline sessions: the record of session damaged cannot be read: ")


def test_what_is_there_already_ends_with_nought(records: list[Record]) -> None:
    result = run("move", "waits", "echo", "--wait", "0")
    assert (result.exit_code, result.stdout) == (0, "session waits is answered by echo\n")


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1/0", "nonsense"])
def test_without_a_redis_it_says_so(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TRUNKLINE_REDIS_URL", url)
    result = run("list")
    assert result.exit_code == 2
    assert result.stderr.startswith("trunkline sessions: ")
