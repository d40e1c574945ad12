"""What the user says, by voice, keyboard or telephone keys, on its way into the conversation, in the order in which it
was said."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trunkline.errors import ProviderError
from workers import context
from workers.backend import Item
from workers.cascade.answers import Answers
from workers.cascade.hearing import Utterance
from workers.cascade.shared import Shared
from workers.cascade.stages import STT
from workers.latency import Latency

CONTRIBUTIONS = 8
"""Utterances, typed texts and keyed numbers that may wait to be understood before the next text or number must wait.
(What is spoken takes its time by itself.)"""

LAST_WORDS_S = 2.0
"""How long the text of what was said last is waited for once the user is gone: peers' p99 is 1.54 s (batch.py). So long
a worker keeps a session that nobody hears."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Contribution:
    """Something that the user said."""

    said: Utterance | str
    first_seq: int
    """The oldest uplink that holds it."""
    latency: Latency
    unwanted: bool = False
    """The client cancelled: it is to be remembered, not answered."""
    keys: str = ""
    """The telephone keys that it is about, if it is."""
    turn: int = 0
    """Which turn it is; 0: the next when it is known."""
    over_ms: int | None = None
    """So much speech over an answer: it is not known yet whether it counts."""


class Contributions:
    """Those of one session. Their texts are searched for side by side: to who spoke for long, a mute transcriber costs
    its deadline once.

    `served` is that of the stages. `counts(over_ms, text)` decides about one that was said over an answer.
    `understood(contribution, known)` is called when one has come into the conversation; `known` is false for one whose
    text could not be found out. `disregarded` is called when one turns out not to count, and `awaited` when there is
    one more to be understood.
    """

    def __init__(
        self,
        shared: Shared,
        served: Mapping[str, str],
        answers: Answers,
        counts: Callable[[int, str], bool],
        understood: Callable[[Contribution, bool], None],
        disregarded: Callable[[], None],
        awaited: Callable[[], None],
    ) -> None:
        self._session = shared.session
        self._group = shared.group
        self._keeper = shared.keeper
        self._served = served
        self._answers = answers
        self._counts = counts
        self._understood = understood
        self._disregarded = disregarded
        self._awaited = awaited
        self._heard: asyncio.Queue[Contribution] = asyncio.Queue()
        self._taken = asyncio.Event()
        self._pending: deque[Contribution] = deque()
        """Everything in `_heard`, and what was taken from it but is not in the snapshot yet."""
        self._texts: dict[Contribution, asyncio.Task[str | ProviderError]] = {}
        """Of those that are spoken: the search for the text of each."""
        self._clock = asyncio.get_running_loop().time

    def __bool__(self) -> bool:
        """Whether any is on its way."""
        return bool(self._pending)

    @property
    def needed_seq(self) -> int | None:
        """The oldest uplink of those on their way; None when there are none."""
        return self._pending[0].first_seq if self._pending else None

    async def room(self) -> None:
        """Wait until fewer than CONTRIBUTIONS wait to be understood."""
        while self._heard.qsize() >= CONTRIBUTIONS:
            self._taken.clear()
            await self._taken.wait()

    def put(self, contribution: Contribution) -> None:
        self._pending.append(contribution)
        if isinstance(contribution.said, Utterance):
            self._texts[contribution] = self._group.create_task(self._text_of(contribution.said, contribution.latency))
        self._awaited()
        self._heard.put_nowait(contribution)

    def precede_answer(self) -> Latency:
        """An answer to them is begun, whatever they are: theirs are the turns before it. Returns the wait for it."""
        for contribution in self._pending:
            contribution.turn = contribution.turn or context.new_turn(self._session.snapshot)
        return self._pending[-1].latency

    def unwant(self) -> None:
        """The user wants no answer to any of them."""
        for contribution in self._pending:
            contribution.unwanted = True

    async def leave(self) -> None:
        """The user is gone, and `run` with them: what they said belongs to the conversation, and nobody answers it.
        What is not known yet is waited for, but no longer than LAST_WORDS_S. Raises SessionLost."""
        for contribution in self._pending:
            contribution.turn = contribution.turn or context.new_turn(self._session.snapshot)
        self._remember_known()
        searches = [self._texts[contribution] for contribution in self._pending if contribution in self._texts]
        if searches:
            await self._keeper.commit()  # should this worker die meanwhile, nothing else is lost
            await asyncio.wait(searches, timeout=LAST_WORDS_S)
            self._remember_known()
        for search in searches:
            if why := _not_known(search):
                _log.warning("session %s: what was said last was not understood: %s", self._session.id, why)
        self.cancel()

    def _remember_known(self) -> None:
        """Those whose text is known, whatever is before them, come into the conversation, and wait no more. Nobody is
        owed an answer: also not by a worker that comes after this one."""
        for contribution in list(self._pending):
            if text := self._known_text(contribution):
                self._let_go(contribution)
                self._remember(text, contribution, contribution.turn)
        context.owe_nothing(self._session.snapshot)

    def cancel(self) -> None:
        """Nobody wants to know any more. Safe to call twice."""
        for search in self._texts.values():
            search.cancel()
        for contribution in self._pending:
            if isinstance(contribution.said, Utterance):
                contribution.said.cancel()
        self._texts.clear()
        self._pending.clear()

    async def run(self) -> None:
        """Bring what was said into the conversation, in order, until cancelled."""
        while True:
            contribution = await self._heard.get()
            self._taken.set()
            text = await self._understand(contribution)
            if not self._is_to_be_known(contribution, text or ""):
                self._let_go(contribution)
                self._disregarded()
                continue
            await self._answers.settled()  # what was heard of the last answer comes before what was said to it
            self._let_go(contribution)
            if text:
                self._remember(text, contribution, self._turn_of(contribution))
            self._understood(contribution, text is not None)

    def _let_go(self, contribution: Contribution) -> None:
        self._pending.remove(contribution)
        self._texts.pop(contribution, None)

    def _is_to_be_known(self, contribution: Contribution, text: str) -> bool:
        if contribution.over_ms is None:
            return True
        if contribution.turn:  # an answer to it was begun meanwhile: it is not over that one that it was said
            self._counts(contribution.over_ms, "")
            return True
        return self._counts(contribution.over_ms, text)

    async def _understand(self, contribution: Contribution) -> str | None:
        """The text of it; None when that could not be found out."""
        if (search := self._texts.get(contribution)) is None:
            return str(contribution.said).strip()
        await asyncio.wait([search])
        match search.result():
            case ProviderError() as error:
                await self._answers.fall_back("stt", error)
                self._answers.failed("stt", error)
                return None
            case text:
                contribution.latency.mark("transcript", self._clock())
                return text

    async def _text_of(self, utterance: Utterance, latency: Latency) -> str | ProviderError:
        """What was said. A failure is for whoever asks, in order: the owner of this task must not hear of it first."""
        try:
            transcript = await utterance.finish()
        except ProviderError as error:
            return error
        latency.served(STT, self._served.get(STT))
        return transcript.text.strip()

    def _known_text(self, contribution: Contribution) -> str:
        """The text of it; empty if it is not known yet, or could not be found out."""
        if isinstance(contribution.said, str):
            return contribution.said.strip()
        search = self._texts.get(contribution)
        text = search.result() if search is not None and search.done() and not search.cancelled() else ""
        return text if isinstance(text, str) else ""

    def _turn_of(self, contribution: Contribution) -> int:
        begun = self._answers.current
        before = begun is not None and begun.expects  # if not, that was interrupted, and this is still to be answered
        return contribution.turn if contribution.turn and before else context.new_turn(self._session.snapshot)

    def _remember(self, text: str, contribution: Contribution, turn: int) -> None:
        snapshot = self._session.snapshot
        self._session.event("transcript", role="user", turn=turn, text=text)
        context.remember(snapshot, Item("user", text, turn))
        context.spoke_until(snapshot, contribution.latency.speech_end_ms)
        if contribution.unwanted:
            context.owe_nothing(snapshot)


def _not_known(search: asyncio.Task[str | ProviderError]) -> str:
    """Why the text that was searched for is not known; empty if it is."""
    if not search.done():
        return f"not within {LAST_WORDS_S:g} s"
    text = search.result()
    return str(text) if isinstance(text, ProviderError) else ""
