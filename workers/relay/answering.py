"""One answer of the model on its way to the caller: what was said when, and what of it was heard. Pure.

An answer is one turn of the model. It may be several of the model's responses (one that calls a tool, one that speaks
of what the tool said; one that was cut off by a fault, one that goes on), each with items of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trunkline.audio.frame import FRAME_MS
from workers.backend import Answer, Spoken
from workers.context import CHARACTER_MS, heard

SEGMENT_MS = 400
"""Text that arrives within so much audio is one segment of it."""
SEAM_MS = 80
"""A word that seems to end so close before audio breaks off is said again: better that than a word that nobody hears.
Of 245 seams in eSpeak's speech 4 % lost a word without this, and none with it; 38 % repeat one instead of 13 %."""

TELLING_CHARACTERS = 24
"""So much text, and its audio, tell how fast the model speaks."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """Where an item of the model's is to end, as the model counts."""

    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class Retelling:
    """A text of ours that a new session with the model was told, and what of it the caller heard."""

    item_id: str
    text: str


@dataclass(slots=True)
class _Span:
    """The audio of one item, in ms of the turn."""

    item_id: str
    content_index: int
    start_ms: int
    end_ms: int


@dataclass(slots=True)
class Answering:
    """`answer` is what the snapshot keeps of it."""

    answer: Answer
    received: float = 0.0
    """Audio of the turn that came from the model, ever, in ms: its pieces need not be whole ms."""
    responding: bool = True
    """Whether the model goes on with it, or is to: a response is active, or a tool is."""
    sent: bool = False
    """Whether the edge was sent any of it."""
    cut: bool = False
    """Whether it was silenced: nothing more of it may be heard."""
    kept_ms: int = 0
    """How much of it the snapshot that was committed last has the text of."""
    played_ms: int = 0
    """How much of it was heard, as far as the edge said."""
    says: str = ""
    """All that it is to say, where that is known word for word."""
    told_id: str = ""
    """The item as which this session with the model was told of it, after a fault; it ends at `told_ms`."""
    told_ms: int = 0
    character_ms: float = 0.0
    """Where words come long before their audio: how long a character of them takes to say, as far as that is known. 0
    where they come with it."""
    _spans: list[_Span] = field(default_factory=list)
    _text_item: str = ""
    _owes_audio: bool = False
    """Whether the audio of its last words may still come."""
    _ahead: bool = False
    """Whether the last of `answer.spoken` grows, and where it ends is an estimate: its audio has come in part."""

    @property
    def turn(self) -> int:
        return self.answer.turn

    @property
    def received_ms(self) -> int:
        return round(self.received)

    def new_session(self, item_id: str = "") -> None:
        """The model knows this answer as text only, from now on, and as the item of this id (none: not at all)."""
        self._spans.clear()
        self.told_id, self.told_ms = item_id, self.received_ms

    def take_back(self) -> str:
        """The model's text is ahead of its audio, which will not come any more: return the text without audio, and
        forget it. That is the last word at least, unless all that it was to say is there, or nearly so."""
        if not self._owes_audio:
            return ""
        self._owes_audio = False
        ahead, self._ahead = self._ahead, False
        text = self.answer.text.strip()
        said = heard(self.answer.spoken, self.received_ms)
        if self.says == text and _is_little(text[len(said) :]):
            return ""
        without_last = " ".join(text.split()[:-1])
        if not ahead and _is_little(without_last[len(said) :]):
            said = without_last
        self.answer.complete = False
        return _cut(self.answer, said, self.received_ms)

    @property
    def unsaid(self) -> str:
        """What is left of `says`; empty also when the model chose words of its own."""
        said = self.answer.text.strip()
        return self.says[len(said) :].strip() if self.says.startswith(said) else ""

    def audio(self, item_id: str, content_index: int, length_ms: float) -> None:
        """The model sent so much audio more."""
        if not self._spans or self._spans[-1].item_id != item_id:
            self._spans.append(_Span(item_id, content_index, self.received_ms, self.received_ms))
        self.received += length_ms
        self._spans[-1].end_ms = self.received_ms
        if self._ahead and self.received_ms > self.answer.spoken[-1].end_ms:
            self._end_last(self.received_ms)

    def text(self, item_id: str, delta: str) -> str:
        """The model said so much more; its audio is about to come, or came just now. Returns it with the space that
        keeps it from the item before."""
        answer = self.answer
        if self._text_item not in ("", item_id) and not answer.text.endswith(" "):
            delta = " " + delta
        self._text_item = item_id
        self._owes_audio = True
        answer.text += delta
        self._place(delta)
        return delta

    def _place(self, delta: str) -> None:
        answer = self.answer
        if self.character_ms:
            self._place_ahead(delta)
            return
        if answer.spoken and self.received_ms - answer.spoken[-1].start_ms < SEGMENT_MS:
            last = answer.spoken.pop()
            delta, start_ms = last.text + delta, last.start_ms
        else:
            start_ms = self.received_ms
            if answer.spoken:
                last = answer.spoken[-1]
                answer.spoken[-1] = Spoken(last.text, last.start_ms, start_ms)
        answer.spoken.append(Spoken(delta, start_ms, start_ms))

    def _place_ahead(self, delta: str) -> None:
        """All that is said in one go begins where its first words did, and ends when so many characters are spoken."""
        spoken, start_ms = self.answer.spoken, self.received_ms
        if self._ahead:
            last = spoken.pop()
            delta, start_ms = last.text + delta, last.start_ms
        self._ahead = True
        end_ms = start_ms + round(len(delta.strip()) * self.character_ms)
        spoken.append(Spoken(delta, start_ms, max(end_ms, self.received_ms)))

    def _end_last(self, end_ms: int) -> None:
        last = self.answer.spoken[-1]
        self.answer.spoken[-1] = Spoken(last.text, last.start_ms, max(end_ms, last.start_ms + 1))

    def words_are_whole(self) -> None:
        """The model has said all of it in words, and their audio still comes."""
        self.answer.complete = True
        self.says = self.answer.text.strip()

    def audio_is_whole(self) -> None:
        """The model sent all the audio of what it said until now."""
        self._owes_audio = False
        if self._ahead:
            self._ahead = False
            self._end_last(self.received_ms)
            last = self.answer.spoken[-1]
            if (length := len(last.text.strip())) >= TELLING_CHARACTERS:
                self.character_ms = (last.end_ms - last.start_ms) / length

    def complete(self) -> None:
        """The model has said all of it."""
        self.responding = self._ahead = False
        self.answer.complete = True
        if self.answer.spoken:
            self._end_last(self.received_ms)

    def truncations(self, played_ms: int) -> list[Truncation]:
        """The items of which the caller heard only the beginning, or nothing."""
        if self._ahead and not self._spans:
            return [Truncation(self._text_item, 0, 0)]
        return [
            Truncation(span.item_id, span.content_index, max(0, played_ms - span.start_ms))
            for span in self._spans
            if span.end_ms > played_ms + FRAME_MS or (self._ahead and span is self._spans[-1])
        ]

    def retellings(self, played_ms: int) -> list[Retelling]:
        """The text that the model believes to have been heard, and was not to its end."""
        if not self.told_id or played_ms + FRAME_MS >= self.told_ms:
            return []
        return [Retelling(self.told_id, self.heard(played_ms))]

    def heard(self, played_ms: int) -> str:
        """The text of what the caller heard."""
        if self.answer.complete and not self._ahead and played_ms + FRAME_MS >= self.received_ms:
            return self.answer.text.strip()
        return heard(self.answer.spoken, played_ms)


def going_on(answer: Answer, received_ms: int) -> tuple[Answering, str]:
    """An answer that another worker began, of which the edge has `received_ms`. Returns it, and the text that is not at
    the edge: what the model had said already, and nobody will hear unless it is said again."""
    end_ms = answer.spoken[-1].end_ms if answer.spoken else 0
    said = heard(answer.spoken, received_ms if answer.complete else received_ms - SEAM_MS)
    rest = _cut(answer, said, received_ms)
    if answer.complete and _is_little(rest) and end_ms < received_ms + SEGMENT_MS:
        rest = ""  # the last syllable of what is at the edge
    return Answering(answer, received_ms, sent=received_ms > 0, kept_ms=received_ms), rest


def _is_little(text: str) -> bool:
    """Whether its audio may well be there: words are told apart only about so well."""
    return len(text) * CHARACTER_MS < SEGMENT_MS


def _cut(answer: Answer, said: str, received_ms: int) -> str:
    """Leave of the text what the first `received_ms` of audio say. Returns the rest."""
    text = answer.text.strip()
    rest = text[len(said) :].strip() if text.startswith(said) else ""
    answer.spoken = [Spoken(said + " ", 0, received_ms)] if said else []
    answer.text = said + " " if said else ""
    return rest
