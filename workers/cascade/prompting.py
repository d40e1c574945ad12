"""What the language model is asked, and where an answer that was begun goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from workers import context
from workers.backend import Answer, Called, Item, Snapshot
from workers.backend import ToolCall as Call
from workers.providers.base import ChatMessage, ToolCall

SENT_ITEMS = 40
SENT_CHARACTERS = 40_000
"""Of the conversation, the language model is sent so many items and characters, calls of tools and what they answered
included: some 10,000 tokens, 45 minutes of speech. A caller waits for the model to read them."""

SENT_BEFORE = 6000
"""Of these, so many are for what was said before, however much tools answer now: two minutes of talk, and who it was
that called. One result, which has at most 32,768, is sent whole beside them."""

SENT_OF_A_RESULT = 200
"""And so many are sent of each in any case."""

LATE = json.dumps({"status": "done", "next": "Its result was told later."})
"""What stands in its place when it is done."""

ENOUGH = "You have used tools often enough. Answer now with what you know, without calling any."


def messages(prompt: str, snapshot: Snapshot, *, calls: bool = False) -> list[ChatMessage]:
    """What to ask the language model: the system prompt, the last items, and what it had begun to answer; bounded.

    `calls`: it has tools, and is shown their calls as its own. Otherwise, or when they come from elsewhere, it is told
    of them as facts.
    """
    result = [ChatMessage("system", prompt)]
    turn = -1
    snapshot = _shortened(snapshot)
    for item in _sent(snapshot):
        if item.role == "assistant" and _is_plain_answer(result[-1]):  # it was interrupted: some models want one
            result[-1] = ChatMessage("assistant", f"{result[-1].content} {item.text}")
        elif item.role != "tool":
            result.append(ChatMessage(item.role, item.text))
        elif item.tool is None:
            result.append(ChatMessage("system", item.text))
        elif calls:
            before = result.pop().content if turn == item.turn and _is_plain_answer(result[-1]) else ""
            result += _round(before, [(item.tool, item.text)])
        else:
            result.append(ChatMessage("system", fact(item.tool, item.text)))
        turn = item.turn
    if snapshot.answer is not None:
        result += _begun(snapshot.answer)
    return result


def _shortened(snapshot: Snapshot) -> Snapshot:
    """The same, with what tools answered since the user's last words cut as much as it has to be. The latest, which
    the model is waiting for, is cut last; no call is left without an answer."""
    items, answer = snapshot.items[-SENT_ITEMS:], snapshot.answer
    begin = _asked(items)
    room = SENT_CHARACTERS - SENT_BEFORE - sum(map(context.length, items[begin:]))
    room -= 0 if answer is None else _length(answer)
    if room >= 0:
        return snapshot
    called = [] if answer is None else answer.called
    results = [*(item.text for item in items[begin:] if item.role == "tool"), *map(_output, called)]
    latest = sum(each.round == called[-1].round for each in called) or 1
    short = iter(_fitting(results, latest, room + sum(map(len, results))))
    since = [replace(item, text=next(short)) if item.role == "tool" else item for item in items[begin:]]
    if answer is not None:
        answer = replace(answer, called=[replace(each, output=next(short)) for each in called])
    return replace(snapshot, items=[*items[:begin], *since], answer=answer)


def _fitting(results: Sequence[str], latest: int, room: int) -> list[str]:
    """`results`, the last `latest` of which count most, in `room` characters if they can be: the longest are cut."""
    before, last = results[:-latest], results[-latest:]
    least = sum(min(len(result), SENT_OF_A_RESULT) for result in before)
    last = _cut_to(last, room - least)
    return [*_cut_to(before, room - sum(map(len, last))), *last]


def _cut_to(results: Sequence[str], room: int) -> list[str]:
    """All of them at the greatest length at which they fit into `room`."""
    for number, length in enumerate(sorted(map(len, results))):
        share = room // (len(results) - number)
        if length > share:
            return [_cut(result, max(share, SENT_OF_A_RESULT)) for result in results]
        room -= length
    return list(results)


def _cut(result: str, length: int) -> str:
    """`result` in at most `length` characters, 200 at least: without its middle, if it has more."""
    if len(result) <= length:
        return result
    mark = f" [... the middle is left out: all of it is {len(result)} characters ...] "
    kept = length - len(mark)
    return result[: kept - kept // 2] + mark + result[len(result) - kept // 2 :]


def _sent(snapshot: Snapshot) -> list[Item]:
    """The last items, as many as there is room for, each whole. What is being answered goes in any case: what the user
    said last, all since, and the answer in progress, for which less from before is sent."""
    items, answer = snapshot.items[-SENT_ITEMS:], snapshot.answer
    room = SENT_CHARACTERS - (_length(answer) if answer is not None else 0)
    begin = _asked(items)
    room -= sum(map(context.length, items[begin:]))
    while begin > 0 and (room := room - context.length(items[begin - 1])) >= 0:
        begin -= 1
    return items[begin:]


def _asked(items: Sequence[Item]) -> int:
    """Where the user's last words begin, of which there may be several items; the end, if there are none."""
    roles = [item.role for item in items]
    begin = len(roles) - roles[::-1].index("user") if "user" in roles else len(roles)
    while begin > 0 and roles[begin - 1] == "user":
        begin -= 1
    return begin


def _length(answer: Answer) -> int:
    """Characters of an answer in progress."""
    return len(answer.text) + sum(len(each.call.arguments) + len(_output(each)) for each in answer.called)


def fact(call: Call, output: str) -> str:
    """What a tool answered, told apart from its call."""
    return f"{call.name}({call.arguments}) answered: {output}"


def _is_plain_answer(message: ChatMessage) -> bool:
    return message.role == "assistant" and not message.tool_calls


def _round(before: str, answered: Sequence[tuple[Call, str]]) -> list[ChatMessage]:
    """What the model said, the calls it then made, and what each answered."""
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call, _ in answered)
    told = [ChatMessage("tool", output, call_id=call.id) for call, output in answered]
    return [ChatMessage("assistant", before, calls), *told]


def _begun(answer: Answer) -> list[ChatMessage]:
    """An answer in progress, as if it had no fillers in it: text and calls in turn, and the text that is to go on."""
    result: list[ChatMessage] = []
    at = 0
    for _, group in groupby(answer.called, key=lambda called: called.round):
        calls = list(group)
        until = calls[0].at
        result += _round(_words(answer, at, until).strip(), [(each.call, _output(each)) for each in calls])
        at = until
    rest = last_words(answer)
    return [*result, ChatMessage("assistant", rest)] if rest else result


def _output(called: Called) -> str:
    return context.RUNNING if called.output is None else called.output


def _words(answer: Answer, start: int, end: int) -> str:
    """The model's own words in that part of the text."""
    words = ""
    for since, until in answer.fillers:
        words += answer.text[start : min(since, end)]
        start = max(start, until)
    return words + answer.text[start:end]


def last_words(answer: Answer) -> str:
    """What the model has said since it last used tools; empty for nothing but white space."""
    words = _words(answer, answer.called[-1].at if answer.called else 0, len(answer.text))
    if answer.called:
        words = words.lstrip()
    return words if words.strip() else ""


def remembered(answer: Answer, heard: str) -> list[Item]:
    """What the conversation keeps of `answer`: what was `heard` of its text, and the tools it used, in order."""
    items: list[Item] = []
    blanks = len(answer.text) - len(answer.text.lstrip())  # `heard` has none
    at = 0
    for called in answer.called:
        until = max(at, called.at - blanks)
        if words := heard[at:until].strip():
            items.append(Item("assistant", words, answer.turn))
        items.append(Item("tool", _output(called), answer.turn, called.call))
        at = until
    if words := heard[at:].strip():
        items.append(Item("assistant", words, answer.turn))
    return items


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
