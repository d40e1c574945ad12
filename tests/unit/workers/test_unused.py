"""What a tenant is warned of: what it has set, and nobody uses."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.tenants import Tenant
from workers.unused import unused

IDLE = {"idle": {"after_s": 8, "prompts": ["Are you there?"]}}
TOOLS = {"tools": [{"name": "end_call"}]}


def tenant(backend: str, fallback: str | None, said: dict[str, Any]) -> Tenant:
    return Tenant.model_validate({"id": "clinic", "backend": backend, "fallback_backend": fallback, **said})


@pytest.mark.parametrize(
    ("backend", "fallback", "said", "warned"),
    [
        ("echo", None, TOOLS, "its tools are not used: the backend echo has none, cascade and relay do"),
        ("echo", None, IDLE, "its idle is not used: the backend echo asks nobody, cascade does"),
        (
            "relay",
            "echo",
            IDLE,
            "its idle is not used: the backend relay asks nobody, cascade does; its model speaks up",
        ),
    ],
)
def test_what_nobody_uses_is_said_with_who_would(
    backend: str, fallback: str | None, said: dict[str, Any], warned: str
) -> None:
    [why] = unused(tenant(backend, fallback, said))
    assert why.startswith(warned)


@pytest.mark.parametrize(
    ("backend", "fallback", "said"),
    [
        ("cascade", None, IDLE | TOOLS),
        ("cascade", "echo", IDLE | TOOLS),
        ("relay", "cascade", IDLE | TOOLS),
        ("echo", "relay", TOOLS),
        ("relay", None, TOOLS),
        ("echo", None, {}),
    ],
)
def test_what_one_of_its_backends_uses_is_used(backend: str, fallback: str | None, said: dict[str, Any]) -> None:
    assert unused(tenant(backend, fallback, said)) == []
