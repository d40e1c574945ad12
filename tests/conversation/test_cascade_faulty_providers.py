"""Providers with faults of their own, which raise what no provider may, wherever their code is called. The caller
notices no more of it than of a vendor that fails, and the session lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Outcome
from tests.conversation.test_cascade_failover import ANSWERS, Chained, converse
from tests.standins.session import Say
from tests.standins.troubled import NONE, Trouble, TroubledLlm, TroubledStt, TroubledTts
from tests.standins.voices import ScriptedTranscriber, ScriptedVoice
from trunkline.tenants import SORRY
from workers.failover import foreign
from workers.failover.foreign import LONGEST_TRANSCRIPT
from workers.providers.base import ChatMessage, ToolCall, ToolSchema, Transcript, Word

FAULT = KeyError("a field that the vendor has left out")
FAULTY = Trouble(error=FAULT)


@pytest.fixture(autouse=True)
def no_faults() -> None:
    """Here they are wanted."""


class OddTts(TroubledTts):
    """Raises where `at` says, and gives audio that is none."""

    def __init__(self, at: str) -> None:
        super().__init__(timed=True)
        self.at = at

    def voice(self) -> ScriptedVoice:
        if self.at == "voice":
            raise FAULT
        voice: Any = super().voice()
        if self.at == "speak":
            voice.speak = _raise
        if self.at == "close":
            close = voice.close

            async def close_badly() -> None:
                await close()
                raise FAULT

            voice.close = close_badly
        return voice  # type: ignore[no-any-return]  # it has other methods now

    async def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        async for part in super().speak(text):
            yield part[1:] if self.at == "half a sample" and isinstance(part, bytes) else part


class OddLlm(TroubledLlm):
    def __init__(self, at: str) -> None:
        super().__init__(ANSWERS)
        self.at = at

    def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str | ToolCall, None]:
        if self.at == "call":
            raise FAULT
        return self._parts_of(super().reply(messages, tools))

    async def _parts_of(self, parts: AsyncGenerator[Any, None]) -> AsyncGenerator[str | ToolCall, None]:
        async for part in parts:
            yield None if self.at == "nothing" else part  # type: ignore[misc]  # that is the fault


class OddStt(TroubledStt):
    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    def utterance(self) -> ScriptedTranscriber:
        if self.at == "utterance":
            raise FAULT
        return _OddTranscriber(self, self.at)


class _OddTranscriber(ScriptedTranscriber):
    def __init__(self, stt: TroubledStt, at: str) -> None:
        super().__init__(stt)
        stt.open += 1
        self.at = at

    def _here(self, at: str) -> None:
        if self.at == at:
            raise FAULT

    def push(self, pcm: bytes) -> None:
        self._here("push")
        super().push(pcm)

    def pause(self) -> None:
        self._here("pause")
        super().pause()

    @property
    def interim(self) -> str:
        self._here("interim")
        return super().interim

    @property
    def ended(self) -> bool:
        self._here("ended")
        return super().ended

    @property
    def failure(self) -> None:
        self._here("failure")

    async def finish(self) -> Transcript:
        self._here("finish")
        return await super().finish()

    def cancel(self) -> None:
        super().cancel()
        self._here("cancel")


def _raise(*_: object, **__: object) -> Any:
    raise FAULT


def faults(caplog: pytest.LogCaptureFixture) -> set[str]:
    """The names of providers of which the log has a traceback."""
    told = [each for each in caplog.records if each.name == foreign.__name__ and each.exc_info is not None]
    return {each.getMessage().split()[1] for each in told}


def heard_whole(outcome: Outcome) -> bool:
    return outcome.edge.heard == ANSWER and outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


@pytest.mark.parametrize("at", ["utterance", "push", "pause", "interim", "ended", "failure", "finish"])
def test_another_hears_what_a_faulty_transcriber_did_not(at: str, caplog: pytest.LogCaptureFixture) -> None:
    cast = Chained(stts=[OddStt(at), TroubledStt()])
    outcome = converse(cast)
    assert heard_whole(outcome)
    assert outcome.told("error", "code") == []
    assert faults(caplog) == {"a"}
    assert cast.stt_links[0].breaker.tally.failed >= 1


@pytest.mark.parametrize("at", ["call", "nothing"])
def test_another_model_answers_for_a_faulty_one(at: str, caplog: pytest.LogCaptureFixture) -> None:
    cast = Chained(llms=[OddLlm(at), TroubledLlm(ANSWERS)])
    outcome = converse(cast)
    assert heard_whole(outcome)
    assert outcome.told("error", "code") == []
    assert faults(caplog) == {"a"}
    assert cast.llm_links[0].breaker.tally.failed == 1


@pytest.mark.parametrize("after", [0, 6, 12])
def test_another_model_goes_on_for_a_faulty_one(after: int, caplog: pytest.LogCaptureFixture) -> None:
    cast = Chained(llms=[TroubledLlm(ANSWERS, Trouble(error=FAULT, after=after)), TroubledLlm(ANSWERS)])
    assert heard_whole(converse(cast))
    assert faults(caplog) == {"a"}
    assert cast.llm_links[0].breaker.tally.failed == 1


@pytest.mark.parametrize("at", ["voice", "speak", "half a sample"])
def test_another_voice_speaks_for_a_faulty_one(at: str, caplog: pytest.LogCaptureFixture) -> None:
    cast = Chained(ttss=[OddTts(at), TroubledTts(timed=True)])
    outcome = converse(cast)
    assert heard_whole(outcome)
    assert outcome.told("error", "code") == []
    assert faults(caplog) == {"a"}
    assert cast.tts_links[0].breaker.tally.failed == 1


@pytest.mark.parametrize("after", [0, 8, 14])
def test_another_voice_goes_on_for_a_faulty_one(after: int, caplog: pytest.LogCaptureFixture) -> None:
    cast = Chained(ttss=[TroubledTts(Trouble(error=FAULT, after=after), timed=True), TroubledTts(timed=True)])
    assert heard_whole(converse(cast))
    assert faults(caplog) == {"a"}


STOPPED: Any = asyncio.CancelledError("a task of the provider's own, for which it waited")


@pytest.mark.parametrize("after", [0, 6])
@pytest.mark.parametrize("stage", ["llm", "tts", "stt"])
def test_a_provider_that_stops_itself_does_not_stop_the_answer(
    stage: str, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = Trouble(error=STOPPED, after=after)
    casts: dict[str, Callable[[], Chained]] = {
        "llm": lambda: Chained(llms=[TroubledLlm(ANSWERS, trouble), TroubledLlm(ANSWERS)]),
        "tts": lambda: Chained(ttss=[TroubledTts(trouble, timed=True), TroubledTts(timed=True)]),
        "stt": lambda: Chained(stts=[TroubledStt(trouble), TroubledStt()]),
    }
    outcome = converse(casts[stage]())
    assert heard_whole(outcome)
    assert outcome.told("error", "code") == []
    assert faults(caplog) == {"a"}


@pytest.mark.parametrize(
    ("cast", "blamed"),
    [
        (lambda: Chained(stts=[OddStt("cancel"), TroubledStt()]), {"a"}),
        (lambda: Chained(ttss=[OddTts("close"), TroubledTts()]), {"a"}),
    ],
    ids=["cancel", "close"],
)
def test_a_fault_of_one_that_is_given_up_is_the_log_s(
    cast: Callable[[], Chained], blamed: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A cough is given up; a voice that has spoken is closed."""
    outcome = converse(cast(), [Say(1000, QUESTION), Say(4000, "mhm")])
    assert outcome.edge.heard == ANSWER
    assert outcome.told("error", "code") == []
    assert faults(caplog) == blamed


@pytest.mark.parametrize(
    "cast",
    [
        lambda: Chained(stts=[TroubledStt(FAULTY, NONE, for_ever=False)]),
        lambda: Chained(llms=[TroubledLlm(ANSWERS, FAULTY, NONE, for_ever=False)]),
        lambda: Chained(ttss=[TroubledTts(FAULTY, NONE, for_ever=False)]),
    ],
    ids=["stt", "llm", "tts"],
)
def test_where_nobody_replaces_it_the_caller_is_told_and_the_call_goes_on(
    cast: Callable[[], Chained], caplog: pytest.LogCaptureFixture
) -> None:
    outcome = converse(cast(), [Say(1000, QUESTION), Say(9000, QUESTION)])
    assert outcome.edge.heard == f"{SORRY} {ANSWER}"
    assert outcome.told("error", "code") == ["provider"]
    assert faults(caplog) == {"a"}


@pytest.mark.parametrize("at_ms", [2100, 2700, 3300, 4000, 5000])
def test_a_fault_in_clearing_up_leaves_an_interruption_what_it_is(at_ms: int) -> None:
    """The model's stream raises when it is cancelled, or closed: the answer is over all the same."""

    class Untidy(TroubledLlm):
        async def reply(
            self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
        ) -> AsyncGenerator[str | ToolCall, None]:
            try:
                async for part in super().reply(messages, tools):
                    yield part
            except BaseException:
                raise FAULT from None

    answers = ANSWERS | {"no stop that": "All right.", f"{QUESTION} no stop that": "All right."}
    slow = Untidy(answers, first_s=1.0)
    slow.delta_s = 0.2
    outcome = converse(Chained(llms=[slow]), [Say(1000, QUESTION), Say(at_ms, "no stop that")], end_ms=11_000)
    assert outcome.edge.heard.endswith("All right.")
    assert SORRY not in outcome.edge.heard
    assert outcome.told("error", "code") == []


def test_a_transcriber_that_repeats_itself_without_end_is_cut_short(caplog: pytest.LogCaptureFixture) -> None:
    class Endless(TroubledStt):
        def words(self, pcm: bytes) -> str:
            return super().words(pcm) + " and so on" * 30_000

    cast = Chained(stts=[Endless()])
    outcome = converse(cast)
    [(role, text), _] = outcome.items
    assert role == "user"
    assert text.startswith(f"{QUESTION} and so on and so on")
    assert LONGEST_TRANSCRIPT - 10 < len(text) <= LONGEST_TRANSCRIPT
    assert outcome.told("transcript", "text")[0] == text
    assert max(len(message.content) for asked in cast.llms[0].asked for message in asked) <= LONGEST_TRANSCRIPT
    assert "understood 300011 characters" in caplog.text
