"""How a conversation begins, here or where another worker left it, and how each session with the model begins."""

from __future__ import annotations

import logging

from trunkline.errors import ClientError
from workers import context
from workers.backend import Item
from workers.relay import prompting, protocol
from workers.relay.answering import Answering
from workers.relay.floor import Floor
from workers.relay.link import ModelLink
from workers.relay.responses import Wish

REPLAYED_ITEMS = 60
"""Items of the conversation that a new session with the model begins with."""

_KNOWN = "known_answer"
"""The snapshot's name for all that is known of an answer that was taken over, heard or not: as long as its rest is not
said again, a worker that takes over from us must know it, too."""

log = logging.getLogger(__name__)


def take_up(floor: Floor) -> None:
    """Carry on where the last worker was, or greet."""
    session, snapshot, playhead = floor.session, floor.session.snapshot, floor.session.playhead
    if updates := snapshot.flow.get(floor.UPDATES):
        try:
            floor.change(updates)
        except ClientError as error:  # the tenant was changed since
            log.warning("session %s: what the client set is not allowed any more: %s", session.id, error.message)
    snapshot.next_turn = max(snapshot.next_turn, playhead.turn + 1)
    if playhead.turn:
        session.resume(playhead.turn)  # whoever paused it is gone
    answer = snapshot.answer
    if answer is not None and answer.turn >= playhead.turn and not context.was_cut(snapshot, answer):
        _go_on(floor)
    elif answer is not None:
        snapshot.answer = None
        heard_ms = playhead.played_ms if playhead.turn == answer.turn else 0
        all_heard = playhead.turn > answer.turn and not context.was_cut(snapshot, answer)
        text = answer.text.strip() if all_heard else context.heard(answer.spoken, heard_ms)
        if text:
            floor.remember(Item("assistant", text, answer.turn))
    elif context.is_new(snapshot) and playhead.turn == 0 and floor.tenant.greeting:
        floor.responses.want(prompting.greet(floor.tenant.greeting))
    floor.show("listening")
    floor.keeper.commit_soon()


def _go_on(floor: Floor) -> None:
    """Go on with the answer that the last worker began."""
    snapshot, playhead = floor.session.snapshot, floor.session.playhead
    answer = snapshot.answer
    assert answer is not None
    received_ms = playhead.received_ms if playhead.turn == answer.turn else 0
    complete = answer.complete
    answering, rest = floor.answers.take_over(answer, received_ms)
    greeting, known = floor.tenant.greeting, snapshot.flow.get(_KNOWN, {})
    if greeting and not snapshot.items:
        known = {"turn": answer.turn, "text": greeting, "complete": True}
    if known.get("turn") == answer.turn and known["text"].startswith(answer.text.strip()):
        rest, complete = known["text"][len(answer.text.strip()) :].strip(), known["complete"]
    if rest:
        answer.complete = False
        whole = f"{answer.text}{rest}"
        snapshot.flow[_KNOWN] = {"turn": answer.turn, "text": whole, "complete": complete}
        answering.says = whole if complete else ""
        floor.responses.want(prompting.say(rest, complete=complete))
    elif complete:
        floor.answers.finish(answering)


async def begin(floor: Floor, link: ModelLink) -> None:
    """A new session with the model: bring it to where the conversation is, and use it."""
    log.info("session %s: model session %s (%d)", floor.session.id, link.session_id, floor.line.generation)
    settings = protocol.session_update(floor.tenant, link.format, floor.tools.definitions())
    await link.send({**settings, "event_id": protocol.SETTINGS_ID})
    lost = floor.forget_model()
    broken_off = floor.answers.going_on
    rest = broken_off.take_back() if broken_off is not None else ""
    await _tell_conversation(floor, link)
    floor.line.use(link)
    floor.told.clear()  # what came meanwhile is in what it was told just now, under other ids
    unfinished = floor.answers.going_on  # unless the caller took the floor meanwhile
    if floor.uplink.dropped:
        log.warning("session %s: %d frames of the caller's are lost", floor.session.id, floor.uplink.dropped)
        floor.uplink.dropped = 0
    if floor.uplink.unsettled:  # the model hears it again, and answers again
        floor.responses.unwant()
        if unfinished is not None:
            floor.answers.finish(unfinished)
    elif unfinished is not None:
        _want_rest(floor, unfinished, rest, lost)
    elif context.owes_answer(floor.session.snapshot) and not floor.answers and not floor.tools_running:
        floor.responses.want(lost)
    floor.uplink.rewind()
    await floor.ask()


def _want_rest(floor: Floor, unfinished: Answering, rest: str, lost: Wish | None) -> None:
    """Have the model go on with what it was saying, unless that waits for something, or is wanted already."""
    if floor.tools_running or floor.responses.wish is not None:
        return
    if unfinished.says and unfinished.says == unfinished.answer.text.strip():
        floor.answers.finish(unfinished)
    elif unfinished.unsaid and unfinished.received_ms:
        floor.responses.want(prompting.say(unfinished.unsaid, complete=True))
    elif rest:
        floor.responses.want(prompting.say(rest, complete=False))
    else:
        floor.responses.want(prompting.GO_ON if unfinished.answer.text else lost)


async def _tell_conversation(floor: Floor, link: ModelLink) -> None:
    """Tell a new session with the model all that was said. What comes meanwhile is told, too: nobody else can yet."""
    told: list[Item] = []
    spoken = {answering.turn: answering for answering in floor.answers.unremembered()}
    heard = [Item("assistant", answering.answer.text.strip(), answering.turn) for answering in spoken.values()]
    while new := [item for item in _conversation(floor, heard) if item not in told]:
        for item in new:
            told.append(item)
            events = protocol.item(item)
            if item in heard:
                item_id = f"turn_{item.turn}_{floor.line.generation}"
                events[0]["item"]["id"] = item_id
                spoken[item.turn].new_session(item_id)
            for event in events:
                await link.send(event)


def _conversation(floor: Floor, heard: list[Item]) -> list[Item]:
    """The last of all that was said, in order; `heard` is being heard just now."""
    remembered = floor.session.snapshot.items[-REPLAYED_ITEMS:]
    turns = {item.turn for item in remembered if item.role == "assistant"}
    return sorted([*remembered, *(item for item in heard if item.turn not in turns)], key=lambda item: item.turn)
