"""What whole conversations share: the wire to a Realtime model, and a tool that takes a while."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conversation import relay_talk
from tests.standins.clock_tool import Clock
from tests.standins.model import Model
from workers.failover import foreign
from workers.tools import registry


@pytest.fixture(autouse=True)
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the WebSocket, unless the test is for `relay_talk.both_wires`."""
    monkeypatch.setattr(relay_talk, "wire", getattr(request, "param", Model))


@pytest.fixture(autouse=True)
def no_faults(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a stand-in asserts of how it is used is not taken for a vendor's failure, which a conversation outlives."""
    yield
    assert [told.getMessage() for told in caplog.get_records("call") if told.name == foreign.__name__] == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The tool that a tenant names `clock`."""
    clock, make = Clock(), registry.make
    monkeypatch.setattr(registry, "make", lambda use: clock if use.name == clock.name else make(use))
    return clock
