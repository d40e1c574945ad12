"""Conversations with a Realtime model over either of the wires that reach one."""

from __future__ import annotations

import pytest

from tests.conversation import relay_talk
from tests.standins.model import Model


@pytest.fixture(autouse=True)
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the WebSocket, unless the test is for `relay_talk.both_wires`."""
    monkeypatch.setattr(relay_talk, "wire", getattr(request, "param", Model))
