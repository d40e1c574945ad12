"""Tenants who do not want a caller listened to, while the greeting is said or a tool runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, talk
from tests.standins.session import Action, Ask, Dial, Say, Type
from tests.standins.tool_model import Script, ToolLlm, Use
from tests.standins.voices import ScriptedLlm
from trunkline.tenants import Tenant
from workers.keys import told

GREETING = "Hello and welcome to this place here."
"""1.4 s."""
MUTED = 1700
"""No word that begins later is in the greeting."""
SHOWN = Ask(5500, "tool_output", {"call_id": "id_1", "output": "shown"})


def greeted(*script: Action, mute: tuple[str, ...] = ("greeting",), kills_ms: tuple[int, ...] = ()) -> Any:
    tenant = Tenant.model_validate({"id": "test", "greeting": GREETING, "turn": {"mute": mute}})
    answers = {QUESTION: ANSWER, "new": "Nothing.", "is new": "Nothing.", "typed": "Well."}
    return talk(script, Cast(tenant=tenant, llm=ScriptedLlm(answers)), kills_ms=kills_ms)


def test_what_is_said_over_a_muted_greeting_is_not_heard() -> None:
    outcome = greeted(Say(400, "stop that"))
    assert outcome.edge.heard == GREETING
    assert outcome.items == [("assistant", GREETING)]
    assert not outcome.events("speech_started")
    assert greeted(Say(400, "stop that"), mute=()).edge.heard != GREETING


def test_who_still_speaks_when_it_is_over_is_heard_from_then_on() -> None:
    outcome = greeted(Say(MUTED - 900, QUESTION, word_ms=450))
    assert outcome.items[1] in (("user", "is new"), ("user", "new"))
    assert outcome.edge.heard == f"{GREETING} Nothing."


def test_only_the_greeting_is_muted() -> None:
    outcome = greeted(Say(3000, QUESTION), Say(6000, "is new", word_ms=300))
    assert outcome.edge.heard.endswith("Nothing.")
    assert outcome.items[2] != ("assistant", ANSWER)


def test_typed_text_ends_a_muted_greeting() -> None:
    outcome = greeted(Type(600, "typed"))
    assert outcome.edge.heard.endswith("Well.")
    assert GREETING not in outcome.edge.heard


@pytest.mark.parametrize("kill_ms", [300, 700, 1100])
def test_a_worker_that_takes_over_does_not_listen_either(kill_ms: int) -> None:
    outcome = greeted(Say(400, "stop that now please"), kills_ms=(kill_ms,))
    assert outcome.edge.heard == GREETING
    assert outcome.items == [("assistant", GREETING)]


def using(*script: Action, mute: tuple[str, ...] = ("tool",)) -> Any:
    """The tool runs from about 2.6 s until 5.5 s, and the answer is heard until 6.8 s."""
    tools = [{"name": "page", "description": "Show a page.", "timeout_s": 10}]
    settings = {"id": "test", "turn": {"mute": mute, "preemptive": False}, "fillers": {"phrases": []}}
    said: dict[str, Script] = {
        QUESTION: [Use("page")],
        "shown": ["There it is now."],
        "stop": ["As you like."],
        told("1#"): ["One."],
    }
    tenant = Tenant.model_validate(settings | {"client_tools": tools})
    return talk([Say(1000, QUESTION), *script, SHOWN], Cast(tenant=tenant, llm=ToolLlm(said)))


def test_what_is_said_while_a_tool_runs_is_not_heard() -> None:
    outcome = using(Say(3500, "stop", word_ms=400))
    assert outcome.edge.heard == "There it is now."
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION]
    outcome = using(Say(3500, "stop", word_ms=400), mute=())
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, "stop"]


def test_what_is_said_after_the_tool_is() -> None:
    outcome = using(Say(6300, "stop", word_ms=400))
    assert outcome.edge.heard.endswith("As you like.")


def test_keys_are_taken_up_when_the_answer_is_over() -> None:
    outcome = using(Dial(3500, "1"), Dial(3800, "#"))
    assert outcome.edge.heard == "There it is now. One."
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, told("1#")]
