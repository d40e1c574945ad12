"""Whole conversations with the cascade: what is said, what is heard, what is remembered."""

from __future__ import annotations

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, talk, tenant
from tests.standins.session import Ask, Say, Type
from tests.standins.voices import Failing, ScriptedLlm, ScriptedStt, ScriptedTts
from workers.backend import Item, Snapshot
from workers.cascade.answering import SORRY


def test_question_and_answer() -> None:
    outcome = talk([Say(1000, QUESTION)])
    assert outcome.edge.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    assert outcome.told("state", "state") == ["listening", "thinking", "speaking", "listening"]
    assert outcome.told("transcript", "text") == [QUESTION, ANSWER]
    assert "".join(outcome.told("transcript_delta", "delta")) == ANSWER
    assert outcome.last.committed.answer is None
    assert outcome.last.rests == [True, False, True]
