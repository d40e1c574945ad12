"""What the language model is asked, and where an answer that was begun goes on."""

from __future__ import annotations

from workers.backend import Answer, Item, Snapshot
from workers.providers.base import ChatMessage

SENT_ITEMS = 40
"""Items the language model is sent."""


def messages(prompt: str, snapshot: Snapshot) -> list[ChatMessage]:
    """What to ask the language model: the system prompt, the last items, and what it had begun to answer."""
    result = [ChatMessage("system", prompt)]
    result += [_message(item) for item in snapshot.items[-SENT_ITEMS:]]
    if snapshot.answer is not None and snapshot.answer.text:
        result.append(ChatMessage("assistant", snapshot.answer.text))
    return result


def _message(item: Item) -> ChatMessage:
    if item.tool is not None:  # another backend's
        return ChatMessage("system", f"{item.tool.name}({item.tool.arguments}) answered: {item.text}")
    return ChatMessage(item.role, item.text)


def said(answer: Answer) -> str:
    """The text of an answer that has been handed to the voice."""
    return "".join(sentence.text for sentence in answer.spoken)


def resume_at(answer: Answer, received_ms: int) -> tuple[int, int]:
    """Where to go on with `answer` when the edge's audio of it ends at `received_ms`.

    Returns which of `answer.spoken` is to be spoken again, from within (their count: none of them), and where in the
    turn that one, or the first new sentence, begins (ms).
    """
    for number, sentence in enumerate(answer.spoken):
        unfinished = sentence.end_ms <= sentence.start_ms and sentence is answer.spoken[-1]
        if unfinished or sentence.end_ms > received_ms:
            return number, sentence.start_ms
    return len(answer.spoken), max(received_ms, answer.spoken[-1].end_ms if answer.spoken else 0)
