from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from trunkline.tenants import Tenant
from workers.backend import Session, Snapshot
from workers.tools.toolbox import Toolbox

Events = list[tuple[str, dict[str, Any]]]


class SessionOfTools:
    """As much of a session as a toolbox uses."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.id = "s-1"
        self.snapshot = snapshot
        self.events: Events = []

    def event(self, name: str, **data: Any) -> None:
        self.events.append((name, data))


@pytest.fixture
def snapshot() -> Snapshot:
    return Snapshot()


@pytest.fixture
def session(snapshot: Snapshot) -> SessionOfTools:
    return SessionOfTools(snapshot)


@pytest.fixture
def toolbox(session: SessionOfTools) -> Callable[..., Toolbox]:
    """Makes the toolbox of a tenant with these `tools` and `client_tools`."""

    def make(**settings: Any) -> Toolbox:
        return Toolbox(Tenant.model_validate({"id": "acme", **settings}), cast(Session, session))

    return make


@pytest.fixture
def events(session: SessionOfTools) -> Events:
    """What the client was told, in order."""
    return session.events
