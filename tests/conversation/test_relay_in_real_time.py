"""Conversations with a model over WebRTC: its audio comes no faster than it is heard, and its words long before."""

from __future__ import annotations

from typing import Any

from tests.conversation.relay_talk import ANSWER, QUESTION, Cast, talk
from tests.standins.call import CallModel
from tests.standins.session import Say


def called(**fields: Any) -> Cast:
    return Cast(vendor=CallModel, **fields)


def test_question_and_answer() -> None:
    outcome = talk([Say(1000, QUESTION)], called())
    assert outcome.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)] == outcome.model_items
