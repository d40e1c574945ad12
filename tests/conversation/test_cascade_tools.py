"""What the cascade's model may do besides talking: our tools, the client's, and ending the call."""

from __future__ import annotations

import json

import pytest

from tests.conversation.talk import Cast, talk
from tests.standins.clock_tool import Clock
from tests.standins.session import Ask, Say, Type
from tests.standins.tool_model import Script, ToolLlm, Use
from trunkline.tenants import Tenant
from workers.backend import Item
from workers.cascade.prompting import ENOUGH
from workers.context import RUNNING, UNKNOWN

pytestmark = pytest.mark.usefixtures("clock")

WHEN = "what day"
TOLD = "It was monday."
WAIT = "One moment please."
OTHER = "and where"
ELSEWHERE = "Right here in town."
BYE = "good bye"
MONDAY: Script = (Use("clock", {"day": "monday"}),)
AGAIN: Script = (Use("clock"),)
END: Script = (Use("end_call"),)
GOODBYE = "Goodbye and thanks."
ENDS = json.dumps({"ok": True, "next": "Say a short goodbye. The call ends after it."})
PUT_THROUGH = json.dumps(
    {"ok": True, "next": "Say in a few words that you put the caller through. It happens after that."}
)


def cast(first: Script = MONDAY, **scripts: Script) -> Cast:
    tenant = Tenant.model_validate(
        {
            "id": "test",
            "turn": {"preemptive": False},
            "fillers": {"phrases": []},
            "tools": [
                {"name": "clock"},
                {"name": "end_call"},
                {"name": "transfer_call", "numbers": {"desk": "+15550123"}},
            ],
            "client_tools": [{"name": "page", "description": "Show a page.", "timeout_s": 2.0}],
        }
    )
    known: dict[str, Script] = {
        WHEN: first,
        '"monday"': [TOLD],
        OTHER: [ELSEWHERE],
        json.dumps({"error": "there is no sunday"}): ["No sorry."],
        UNKNOWN: ["Did that work?"],
        BYE: [Use("end_call")],
        ENDS: [GOODBYE],
        PUT_THROUGH: [WAIT],
    }
    return Cast(tenant=tenant, llm=ToolLlm(known | scripts))


def asked(cast: Cast, number: int = -1) -> list[tuple[str, str, int]]:
    """A request to the model, without its prompt: role, content, and how many calls."""
    return [(each.role, each.content, len(each.tool_calls)) for each in cast.llm.asked[number][1:]]


def test_a_tool_is_called_and_its_result_spoken(clock: Clock) -> None:
    talking = cast()
    outcome = talk([Say(1000, WHEN)], talking)
    assert outcome.edge.heard == TOLD
    assert clock.calls == ["monday"]
    assert outcome.items == [("user", WHEN), ("tool", '"monday"'), ("assistant", TOLD)]
    assert asked(talking) == [("user", WHEN, 0), ("assistant", "", 1), ("tool", '"monday"', 0)]
    assert outcome.told("tool_result", "ok") == [True]
    assert outcome.told("state", "state") == ["listening", "thinking", "speaking", "listening"]
    assert outcome.last.rests == [True, False, True]
    assert isinstance(talking.llm, ToolLlm)
    assert talking.llm.offered == [["clock", "end_call", "transfer_call", "page"]] * 2


def test_what_is_said_before_a_call_is_heard_while_the_tool_runs(clock: Clock) -> None:
    clock.takes_s = 3.0
    talking = cast((WAIT, Use("clock")))
    outcome = talk([Say(1000, WHEN)], talking)
    assert outcome.edge.heard == f"{WAIT} {TOLD}"
    waited_ms = outcome.edge.heard_at[3][0] - outcome.edge.heard_at[2][0]
    assert waited_ms > 2000, "the first was heard long before the second"
    assert outcome.items == [("user", WHEN), ("assistant", WAIT), ("tool", '"monday"'), ("assistant", TOLD)]
    assert outcome.told("transcript", "text") == [WHEN, f"{WAIT} {TOLD}"]
    assert asked(talking) == [("user", WHEN, 0), ("assistant", WAIT, 1), ("tool", '"monday"', 0)]


def test_what_was_done_is_known_in_the_next_turn(clock: Clock) -> None:
    talking = cast((WAIT, Use("clock"), Use("clock", {"day": "sunday"})))
    sunday = json.dumps({"error": "there is no sunday"})
    assert isinstance(talking.llm, ToolLlm)
    talking.llm.scripts[f'"monday" {sunday}'] = [TOLD]
    outcome = talk([Say(1000, WHEN), Say(6000, OTHER)], talking)
    assert outcome.edge.heard == f"{WAIT} {TOLD} {ELSEWHERE}"
    assert asked(talking) == [
        ("user", WHEN, 0),
        ("assistant", WAIT, 1),
        ("tool", '"monday"', 0),
        ("assistant", "", 1),
        ("tool", sunday, 0),
        ("assistant", TOLD, 0),
        ("user", OTHER, 0),
    ]


def test_calls_of_one_round_run_at_once(clock: Clock) -> None:
    talking = cast(
        (Use("clock", {"day": "monday"}), Use("clock", {"day": "friday"})), **{'"monday" "friday"': ["Both."]}
    )
    outcome = talk([Say(1000, WHEN)], talking)
    assert clock.most_running == 2
    assert outcome.edge.heard == "Both."
    assert asked(talking)[1:] == [("assistant", "", 2), ("tool", '"monday"', 0), ("tool", '"friday"', 0)]


def test_rounds_follow_each_other_and_come_to_an_end(clock: Clock) -> None:
    """A model that never has enough is asked to do without."""
    clock.takes_s = 0.1
    talking = cast(**{'"monday"': AGAIN, ENOUGH: (TOLD,)})
    outcome = talk([Say(1000, WHEN)], talking)
    assert len(clock.calls) == 8
    assert clock.most_running == 1
    assert outcome.edge.heard == TOLD
    assert isinstance(talking.llm, ToolLlm)
    assert [bool(offered) for offered in talking.llm.offered] == [True] * 8 + [False]


def test_a_tool_that_fails_is_spoken_of(clock: Clock) -> None:
    outcome = talk([Say(1000, WHEN)], cast((Use("clock", {"day": "sunday"}),)))
    assert outcome.edge.heard == "No sorry."
    assert outcome.told("tool_result", "ok") == [False]


def test_a_tool_ends_when_the_caller_hangs_up(clock: Clock) -> None:
    clock.takes_s = 100.0
    outcome = talk([Say(1000, WHEN)], cast(), end_ms=4000)
    assert clock.running == 0
    assert outcome.edge.heard == ""


# --- somebody speaks while it runs


@pytest.mark.parametrize("takes_s", [1.5, 3.0])
def test_a_tool_that_is_soon_done_is_known_when_the_caller_who_spoke_up_is_answered(
    clock: Clock, takes_s: float
) -> None:
    """Whether it is done before they finish their sentence, or while they wait for an answer to it."""
    clock.takes_s = takes_s
    talking = cast((WAIT, Use("clock")))
    outcome = talk([Say(1000, WHEN), Say(2600, OTHER)], talking)
    assert clock.waited_for == 1
    assert outcome.edge.heard.endswith(ELSEWHERE)
    assert TOLD not in outcome.edge.heard
    assert [role for role, _ in outcome.items] == ["user", "assistant", "tool", "user", "assistant"]
    assert ("tool", '"monday"', 0) in asked(talking)
    assert len(talking.llm.asked) == 2
    assert outcome.last.rests[-1] is True


def test_who_speaks_up_is_answered_before_a_slow_tool_and_told_of_it_when_it_is_done(clock: Clock) -> None:
    clock.takes_s = 9.0
    call = Item("tool", '"monday"', 0).text
    talking = cast(**{f"clock({{}}) answered: {call}": [TOLD]})
    assert isinstance(talking.llm, ToolLlm)
    talking.llm.scripts[WHEN] = [Use("clock")]
    outcome = talk([Say(1000, WHEN), Say(3000, OTHER)], talking, end_ms=16_000)
    assert outcome.edge.heard == f"{ELSEWHERE} {TOLD}"
    assert clock.calls == ["monday"]
    running = [content for role, content, _ in asked(talking, 1) if role == "tool"]
    assert running == [RUNNING]
    assert [role for role, _ in outcome.items] == ["user", "tool", "user", "assistant", "tool", "assistant"]
    assert outcome.last.rests[-1] is True


def test_who_wants_no_answer_hears_nothing_of_the_tool(clock: Clock) -> None:
    clock.takes_s = 3.0
    outcome = talk([Say(1000, WHEN), Ask(3000, "cancel")], cast())
    assert outcome.edge.heard == ""
    assert outcome.items == [("user", WHEN), ("tool", '"monday"')]
    assert outcome.last.rests[-1] is True


@pytest.mark.parametrize("cancel_ms", [3100, 4500])
def test_who_wants_no_answer_after_its_first_words_hears_nothing_of_the_tool(clock: Clock, cancel_ms: int) -> None:
    clock.takes_s = 3.0
    outcome = talk([Say(1000, WHEN), Ask(cancel_ms, "cancel")], cast((f"{WAIT} ", *MONDAY)))
    assert WAIT.startswith(outcome.edge.heard)
    assert [role for role, _ in outcome.items] == ["user", "assistant", "tool"]
    assert clock.waited_for == 1
    assert outcome.last.rests[-1] is True


def test_typed_text_while_a_tool_runs(clock: Clock) -> None:
    clock.takes_s = 2.0
    outcome = talk([Say(1000, WHEN), Type(3000, OTHER)], cast())
    assert outcome.edge.heard == ELSEWHERE
    assert outcome.items == [("user", WHEN), ("tool", '"monday"'), ("user", OTHER), ("assistant", ELSEWHERE)]


def test_a_cough_while_a_tool_runs_changes_nothing(clock: Clock) -> None:
    clock.takes_s = 3.0
    outcome = talk([Say(1000, WHEN), Say(3000, "mhm", word_ms=160)], cast())
    assert outcome.edge.heard == TOLD
    assert clock.calls == ["monday"]


# --- workers die


@pytest.mark.parametrize("kill_ms", range(1500, 9000, 289))
def test_a_worker_may_die_around_a_tool(clock: Clock, kill_ms: int) -> None:
    clock.takes_s = 2.0
    talking = cast((WAIT, Use("clock")), **{UNKNOWN: ("Let me see.", Use("clock"))})
    outcome = talk([Say(1000, WHEN)], talking, kills_ms=[kill_ms], end_ms=16_000)
    began_ms, ended_ms = 2450, 4450
    assert not any(abs(kill_ms - at_ms) < 15 for at_ms in (began_ms, ended_ms)), "it might be either"
    if began_ms < kill_ms < ended_ms:
        assert clock.calls == ["monday", "monday"], "the model was told, and chose to"
        assert outcome.edge.heard == (f"{WAIT} Let me see. {TOLD}")
        assert [text for role, text in outcome.items if role == "tool"] == [UNKNOWN, '"monday"']
    else:
        assert clock.calls == ["monday"]
        assert outcome.edge.heard == (f"{WAIT} {TOLD}")
        assert outcome.items == [("user", WHEN), ("assistant", WAIT), ("tool", '"monday"'), ("assistant", TOLD)]


@pytest.mark.parametrize("kill_ms", range(1900, 9000, 331))
def test_a_worker_may_die_while_the_caller_speaks_over_a_tool(clock: Clock, kill_ms: int) -> None:
    clock.takes_s = 1.6
    outcome = talk([Say(1000, WHEN), Say(2600, OTHER)], cast((WAIT, Use("clock"))), kills_ms=[kill_ms], end_ms=16_000)
    assert len(clock.calls) <= 2
    assert outcome.edge.heard.endswith(ELSEWHERE)
    assert [role for role, _ in outcome.items][-2:] == ["user", "assistant"]
    assert [text for role, text in outcome.items if role == "user"] == [WHEN, OTHER]


@pytest.mark.parametrize("kill_ms", [2600, 3300, 4100, 4600, 5200, 7000, 11_300, 11_600, 12_000, 12_600, 14_000])
def test_a_worker_may_die_while_a_slow_tool_runs_on_and_after(clock: Clock, kill_ms: int) -> None:
    """The caller is answered meanwhile, and told of the tool once, whatever becomes of it."""
    clock.takes_s = 9.0
    call = "clock({}) answered: "
    facts = {
        f"{call}{UNKNOWN}": ("Was it monday?",),
        f'{call}"monday"': (TOLD,),
        f"{OTHER} {call}{UNKNOWN}": (ELSEWHERE,),
    }
    talking = cast(AGAIN, **facts, **{UNKNOWN: ("Did that work?",)})
    outcome = talk([Say(1000, WHEN), Say(3000, OTHER)], talking, kills_ms=[kill_ms], end_ms=20_000)
    assert outcome.edge.heard.count(ELSEWHERE) == 1
    assert clock.calls == ["monday"]
    told = [outcome.edge.heard.count(text) for text in ("Was it monday?", TOLD, "Did that work?")]
    assert sum(told) <= 1
    if kill_ms > 12_000:
        assert outcome.edge.heard == f"{ELSEWHERE} {TOLD}"
    assert RUNNING not in [text for _, text in outcome.items], "nobody waits for it for ever"


# --- the client's


def test_a_tool_of_the_client(clock: Clock) -> None:
    talking = cast((Use("page"),), shown=["You see."])
    outcome = talk([Say(1000, WHEN), Ask(3000, "tool_output", {"call_id": "id_1", "output": "shown"})], talking)
    assert outcome.told("tool_call", "tool") == ["page"]
    assert outcome.edge.heard == "You see."
    assert outcome.items == [("user", WHEN), ("tool", "shown"), ("assistant", "You see.")]


def test_a_client_that_does_not_answer(clock: Clock) -> None:
    failed = json.dumps({"error": "page did not answer in time"})
    talking = cast((Use("page"),), **{failed: ["Sorry no."]})
    outcome = talk([Say(1000, WHEN), Ask(6000, "tool_output", {"call_id": "id_1", "output": "shown"})], talking)
    assert outcome.edge.heard == "Sorry no."
    assert outcome.told("error", "code") == ["unknown_call"]


def test_what_the_client_answered_once_is_no_mistake_after_a_takeover(clock: Clock) -> None:
    answered = Ask(2800, "tool_output", {"call_id": "id_1", "output": "shown"})
    for kill_ms in range(2830, 5000, 547):
        talking = cast((Use("page"),), shown=["You see."])
        outcome = talk([Say(1000, WHEN), answered], talking, kills_ms=[kill_ms])
        assert outcome.edge.heard == "You see."
        assert outcome.told("error", "code") == []


# --- ending the call


def ending(first: Script = END, **scripts: Script) -> Cast:
    talking = cast(**{BYE: first, **scripts})
    talking.closes = True
    return talking


def test_the_call_ends_after_the_goodbye_was_heard() -> None:
    outcome = talk([Say(1000, BYE)], ending())
    assert outcome.edge.heard == GOODBYE
    assert outcome.last.closed == ("assistant_ended", "")
    assert outcome.edge.hung_up.is_set()


def test_the_call_ends_when_the_goodbye_was_said_before_the_tool() -> None:
    outcome = talk([Say(1000, BYE)], ending((GOODBYE, Use("end_call")), **{ENDS: []}))
    assert outcome.edge.heard == GOODBYE
    assert outcome.last.closed == ("assistant_ended", "")


def test_the_call_ends_without_a_goodbye() -> None:
    outcome = talk([Say(1000, BYE)], ending(**{ENDS: []}))
    assert outcome.edge.heard == ""
    assert outcome.last.closed == ("assistant_ended", "")


def test_a_call_is_put_through_after_the_model_said_so() -> None:
    outcome = talk([Say(1000, BYE)], ending((Use("transfer_call", {"to": "desk"}),)))
    assert outcome.edge.heard == WAIT
    assert outcome.last.closed == ("transferred", "+15550123")


@pytest.mark.parametrize("speaks_ms", [2400, 2600, 2900])
def test_a_caller_who_interrupts_the_goodbye_goes_on(speaks_ms: int) -> None:
    talking = ending()
    talking.closes = False
    outcome = talk([Say(1000, BYE), Say(speaks_ms, OTHER, word_ms=250)], talking)
    assert outcome.edge.heard.endswith(ELSEWHERE)
    assert outcome.items[-2:] == [("user", OTHER), ("assistant", ELSEWHERE)]


@pytest.mark.parametrize("kill_ms", range(1500, 4000, 139))
def test_a_call_that_is_to_end_ends_with_another_worker(kill_ms: int) -> None:
    outcome = talk([Say(1000, BYE)], ending(**{UNKNOWN: [Use("end_call")]}), kills_ms=[kill_ms])
    assert outcome.edge.heard == GOODBYE
    assert next(session.closed for session in outcome.sessions if session.closed) == ("assistant_ended", "")
    assert outcome.edge.hung_up.is_set()
