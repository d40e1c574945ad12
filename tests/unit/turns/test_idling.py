"""Prompts to a user who says nothing."""

from __future__ import annotations

from typing import Any

from trunkline.tenants import IdleSettings
from workers.turns.idling import Idling, Prompt

LIMITS = IdleSettings(after_s=5, prompts=("Hello?", "Are you there?"), goodbye="Goodbye.")
FRAME_MS = 20


def prompts(idling: Idling, from_ms: int, until_ms: int) -> list[tuple[int, str]]:
    """What is said when nobody ever answers, and saying it takes no time."""
    found = []
    for now_ms in range(from_ms, until_ms, FRAME_MS):
        prompt = idling.quiet(now_ms)
        if prompt is not None:
            found.append((now_ms, prompt.text))
    return found


def test_each_prompt_comes_once_after_as_much_silence() -> None:
    said = prompts(Idling(LIMITS, {}), 1000, 60_000)
    assert said == [(6000, "Hello?"), (11_000, "Are you there?"), (16_000, "Goodbye.")]


def test_only_the_goodbye_ends_the_call() -> None:
    idling = Idling(IdleSettings(after_s=2, prompts=("Hello?",), goodbye=""), {})
    assert [idling.quiet(ms) for ms in (0, 2000, 4000, 6000)] == [None, Prompt("Hello?", False), Prompt("", True), None]


def test_a_tenant_may_never_hang_up_or_do_nothing_else() -> None:
    assert len(prompts(Idling(IdleSettings(after_s=2, hang_up=False), {}), 0, 60_000)) == 1
    assert prompts(Idling(IdleSettings(after_s=2, prompts=()), {}), 0, 60_000) == [(2000, IdleSettings().goodbye)]
    assert prompts(Idling(None, {}), 0, 60_000) == []


def test_silence_counts_from_when_nobody_was_busy() -> None:
    idling = Idling(LIMITS, {})
    assert prompts(idling, 0, 4900) == []
    idling.busy()
    assert prompts(idling, 7000, 11_900) == []
    assert prompts(idling, 11_900, 12_100) == [(12_000, "Hello?")]


def test_who_was_heard_from_is_asked_from_the_beginning_again() -> None:
    idling = Idling(LIMITS, {})
    assert prompts(idling, 0, 6000) == [(5000, "Hello?")]
    idling.busy()
    idling.heard_from()
    assert prompts(idling, 20_000, 30_100) == [(25_000, "Hello?"), (30_000, "Are you there?")]


def test_another_worker_goes_on_from_the_same_state() -> None:
    flow: dict[str, Any] = {}
    assert prompts(Idling(LIMITS, flow), 1000, 9000) == [(6000, "Hello?")]
    assert prompts(Idling(LIMITS, dict(flow)), 8000, 12_000) == [(11_000, "Are you there?")]
