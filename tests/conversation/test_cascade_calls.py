"""Calls in which everything happens: by script, and by chance. With workers dying at any time, the caller hears every
answer in order and once, and what they said is in the conversation once."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk
from tests.standins.session import Action, Ask, Dial, Say, Type
from tests.standins.voices import UNKNOWN, Failing, ScriptedLlm, ScriptedStt
from trunkline.tenants import Fillers, IdleSettings, Tenant
from workers.keys import told

GREETING = "Hello and welcome to us."
PROMPT = "Are you still there?"
ORDER = "i would like a table for two"
CORRECTION = "no i meant for three"
NUMBER = told("123#")
ANSWERS = {
    QUESTION: ANSWER,
    "wait": "I am listening.",
    ORDER: "A table for two then and what is your number please.",
    CORRECTION: "For three then and your number please.",
    NUMBER: "Thank you for that.",
    "and also on friday": "On Friday then.",
}


def cast(greeting: str | None = GREETING, takes_s: float = 0.2, first_s: float = 0.3) -> Cast:
    tenant = Tenant(
        id="test",
        greeting=greeting,
        idle=IdleSettings(after_s=5, prompts=(PROMPT,), hang_up=False),
        fillers=Fillers(phrases=()),
    )
    stt = ScriptedStt(takes_s, shortest_ms=140)
    return Cast(tenant=tenant, stt=stt, llm=ScriptedLlm(ANSWERS, first_s=first_s))


def noise(at_ms: int, duration_ms: int = 300) -> Say:
    """Sound that is taken for speech, and has no words."""
    return Say(at_ms, " ".join("abcdefghij"[: duration_ms // 100]), word_ms=100)


def assert_sound(outcome: Outcome, script: Sequence[Action]) -> None:
    """Nothing was said twice, nothing that was typed or dialled is missing, and what was heard is what was said."""
    says = [GREETING, PROMPT, UNKNOWN, Cast().tenant.apology, *ANSWERS.values()]
    for turn in outcome.edge.turns.values():
        assert any(text.startswith(" ".join(turn.text)) for text in says)
    for role, text in outcome.items:
        assert role == "user" or any(said.startswith(text) for said in says)
    user = [text for role, text in outcome.items if role == "user"]
    for typed in {action.text for action in script if isinstance(action, Type)}:
        count = sum(isinstance(action, Type) and action.text == typed for action in script)
        assert user.count(typed) == count
    keys = [text.removeprefix(told("").removesuffix(")")).removesuffix(")") for text in user if text.startswith("(")]
    assert "".join(keys) == "".join(action.digit for action in script if isinstance(action, Dial))


# --- by script

SCRIPT: list[Action] = [
    Say(2000, QUESTION),
    Say(4500, "mhm"),  # a listener
    noise(5500),
    Say(7000, "wait", word_ms=300),  # an interruption
    Say(10_000, "i would like a"),  # a long pause in a sentence
    Say(11_900, "table for two"),
    Say(14_500, CORRECTION),
    *[Dial(18_500 + 300 * number, key) for number, key in enumerate("123#")],
    # silence: a prompt
    Say(29_000, "and also"),
    Type(29_300, "on friday"),
]
END_MS = 34_000


def scripted() -> Cast:
    made = cast()
    made.llm.answers = ANSWERS | {"and on friday": "On Friday then.", "and also on friday": "On Friday then."}
    return made


@functools.cache
def undisturbed() -> Outcome:
    return talk(SCRIPT, scripted(), end_ms=END_MS)


def test_a_whole_call() -> None:
    outcome = undisturbed()
    assert [text for role, text in outcome.items if role == "user"] == [
        QUESTION,
        "wait",
        ORDER,
        CORRECTION,
        NUMBER,
        "and",
        "on friday",
    ]
    answers = [text for role, text in outcome.items if role == "assistant"]
    assert answers[0] == GREETING
    assert ANSWER.startswith(answers[1])
    assert answers[1] != ANSWER, "it was interrupted"
    assert answers[2] == ANSWERS["wait"]
    assert ANSWERS[ORDER].startswith(answers[3])
    assert answers[3] != ANSWERS[ORDER], "it was corrected"
    assert answers[4:] == [ANSWERS[CORRECTION], ANSWERS[NUMBER], PROMPT, "On Friday then."]
    assert_sound(outcome, SCRIPT)


@pytest.mark.parametrize("kill_ms", range(700, 33_000, 2571))
def test_a_whole_call_whose_worker_dies(kill_ms: int) -> None:
    outcome = talk(SCRIPT, scripted(), end_ms=END_MS, kills_ms=[kill_ms])
    assert_same(outcome)


def test_a_whole_call_whose_workers_die_all_the_time() -> None:
    assert_same(talk(SCRIPT, scripted(), end_ms=END_MS, kills_ms=range(900, 33_000, 1300)))


def assert_same(outcome: Outcome) -> None:
    """As without any death, but for where an answer was cut: to a word or two."""
    assert [role for role, _ in outcome.items] == [role for role, _ in undisturbed().items]
    for (role, text), (_, plain) in zip(outcome.items, undisturbed().items, strict=True):
        if role == "user":
            assert text == plain
        else:
            assert text.startswith(plain) or plain.startswith(text)
            assert abs(len(text.split()) - len(plain.split())) <= 3
    assert_sound(outcome, SCRIPT)


# --- by chance


def drawn(chance: random.Random) -> list[Action]:
    """About 18 s of a caller who does anything at any time."""
    at_ms, script = 500, list[Action]()
    while at_ms < 18_000:
        actions: list[Action] = [
            Say(at_ms, chance.choice([QUESTION, CORRECTION, "mhm", "yeah okay", "wait"]), chance.choice([150, 300])),
            noise(at_ms, chance.choice([200, 300, 900])),
            Type(at_ms, chance.choice(["typed", "written"])),
            Dial(at_ms, chance.choice("123#")),
            Ask(at_ms, chance.choice(["commit", "cancel"])),
        ]
        [action] = chance.choices(actions, [9, 3, 2, 2, 2])
        script.append(action)
        at_ms = (action.end_ms if isinstance(action, Say) else at_ms) + chance.choice([20, 100, 300, 700, 1500, 3000])
    return script


@pytest.mark.parametrize("seed", range(16))
def test_any_call(seed: int) -> None:
    chance = random.Random(seed)
    script = drawn(chance)
    kills_ms = sorted(chance.sample(range(500, 20_000), chance.choice([0, 1, 3])))
    made = cast(chance.choice([None, GREETING]), chance.choice([0.1, 0.7, 2.0]), chance.choice([0.1, 0.3, 1.0]))
    made.stt.failing = Failing(chance.choice([0, 1, 99]))
    outcome = talk(script, made, end_ms=23_000, kills_ms=kills_ms)
    assert_sound(outcome, script)
