"""The uplink on its way to the model: nothing that is needed is ever gone, and nothing settled comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from trunkline.audio.frame import FRAME_MS
from trunkline.bus.messages import UplinkAudio
from workers.relay.uplink import MOST_KEPT_MS, SILENCE_KEPT_MS, Uplink

MOST_FRAMES = MOST_KEPT_MS // FRAME_MS


@dataclass
class Rig:
    """An uplink whose frames hold their own number, and a model that hears them."""

    uplink: Uplink = field(default_factory=lambda: Uplink(0))
    pushed: int = 0
    heard: list[int] = field(default_factory=list)
    """Frames that this session with the model was sent."""

    def push(self, count: int = 1) -> None:
        for _ in range(count):
            self.uplink.push(UplinkAudio("s", self.pushed, self.pushed * FRAME_MS, self.pushed.to_bytes(4, "big")))
            self.pushed += 1

    def pump(self) -> int:
        """Send all there is; returns how many marks came between."""
        marks = 0
        while True:
            if self.uplink.take_mark():
                marks += 1
            elif (pcm := self.uplink.take()) is not None:
                self.heard.append(int.from_bytes(pcm, "big"))
            else:
                return marks

    def rewind(self) -> list[int]:
        self.uplink.rewind()
        self.heard.clear()
        self.pump()
        return self.heard

    def ms(self, frame: int) -> int:
        """A frame's begin, as the model counts."""
        return self.heard.index(frame) * FRAME_MS


def test_a_new_session_hears_an_utterance_again_until_it_is_known_as_text() -> None:
    rig = Rig()
    rig.push(200)
    rig.pump()
    rig.uplink.alive()
    rig.uplink.speech_started("a", rig.ms(150))
    rig.push(100)
    rig.pump()
    rig.uplink.alive()
    rig.push()
    rig.pump()
    assert rig.uplink.speaking
    assert rig.rewind() == list(range(min(rig.heard), 301))
    assert rig.heard[0] <= 150
    rig.uplink.speech_started("b", rig.ms(150))
    rig.uplink.speech_stopped("b", rig.ms(290))
    assert not rig.uplink.committed("b")
    assert rig.uplink.unsettled
    assert not rig.uplink.speaking
    rig.uplink.settled("b")
    assert not rig.uplink.unsettled
    assert rig.rewind() == list(range(290, 301)), "what came after it, and nothing of it"


def test_silence_is_let_go_of_when_the_model_is_known_to_have_heard_it() -> None:
    rig = Rig()
    rig.push(1000)
    rig.pump()
    assert rig.uplink.needed_seq == 0, "it may be deaf"
    rig.uplink.alive()
    rig.push()
    assert rig.uplink.needed_seq == 1000 - SILENCE_KEPT_MS // FRAME_MS


def test_whether_an_utterance_was_over_before_something_else_the_caller_did() -> None:
    rig = Rig()
    rig.push(200)
    rig.pump()
    rig.uplink.speech_started("a", rig.ms(100))
    assert not rig.uplink.ended_before("a", 1000), "it goes on"
    rig.uplink.speech_stopped("a", rig.ms(150))
    assert [rig.uplink.ended_before("a", seq) for seq in (0, 149, 150, 200)] == [False, False, True, True]
    rig.rewind()
    rig.uplink.speech_started("again", rig.ms(100))
    rig.uplink.speech_stopped("again", rig.ms(150))
    assert [rig.uplink.ended_before("again", seq) for seq in (149, 150)] == [False, True]
    assert not rig.uplink.ended_before("unknown", 1000)


def test_the_bound() -> None:
    rig = Rig()
    rig.push(MOST_FRAMES + 70)
    assert rig.uplink.dropped == 70
    assert rig.rewind() == list(range(70, MOST_FRAMES + 70))


def test_an_utterance_that_is_never_written_down_is_given_up_when_nothing_is_left_of_it() -> None:
    rig = Rig()
    rig.push(200)
    rig.pump()
    rig.uplink.speech_started("a", rig.ms(100))
    rig.uplink.speech_stopped("a", rig.ms(150))
    rig.uplink.committed("a")
    rig.push(MOST_FRAMES - 100)
    rig.pump()
    assert rig.uplink.unsettled
    assert rig.uplink.needed_seq == 100
    rig.push(100)
    rig.pump()
    rig.uplink.alive()
    rig.push()
    assert not rig.uplink.unsettled
    assert rig.uplink.needed_seq == rig.pushed - 1 - SILENCE_KEPT_MS // FRAME_MS, "and what came after it is free"


def test_a_mark_is_told_again_until_its_utterance_is_known() -> None:
    rig = Rig()
    rig.uplink.model_hears_edges = False
    rig.push(50)
    rig.uplink.mark(1000)
    rig.push(10)
    assert rig.pump() == 1
    assert rig.uplink.unsettled
    rig.uplink.rewind()
    rig.heard.clear()
    assert rig.pump() == 1, "the next session with the model is told, too"
    assert rig.uplink.committed("a")
    rig.uplink.settled("a")
    assert not rig.uplink.unsettled
    rig.uplink.rewind()
    rig.heard.clear()
    assert rig.pump() == 0
    assert rig.heard == list(range(50, 60))


def test_a_mark_that_ended_nothing_is_forgotten() -> None:
    rig = Rig()
    rig.uplink.model_hears_edges = False
    rig.uplink.mark(0)
    assert rig.pump() == 1
    rig.uplink.nothing_heard()
    assert not rig.uplink.unsettled
    rig.push(5)
    rig.uplink.rewind()
    assert rig.pump() == 0
    assert rig.uplink.needed_seq == 0


@dataclass
class Story(Rig):
    """A rig to which things happen that may happen."""

    spoken: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    """Utterances that are not known as text: their first frame, and the one after their last."""
    settled_to: int = 0

    def silence_and_speech(self) -> None:
        self.push(37)
        self._give_up_on_dropped()

    def long_speech(self) -> None:
        self.push(700)
        self._give_up_on_dropped()

    def sent(self) -> None:
        unheard_from = self.heard[-1] + 1 if self.heard else 0
        if self.uplink.needed_seq > unheard_from:  # gone unheard: that takes a time without a line
            self.new_session()
        else:
            self.pump()

    def alive(self) -> None:
        self.uplink.alive()

    def speech_started(self) -> None:
        if not self.heard or self.uplink.speaking:
            return
        begin = max(self.heard[-1] - 10, self.heard[0], self.settled_to, self.uplink.needed_seq)
        if begin <= self.heard[-1]:
            item = f"item_{self.pushed}_{len(self.spoken)}"
            self.spoken[item] = (begin, None)
            self.uplink.speech_started(item, (begin - self.heard[0]) * FRAME_MS)

    def speech_stopped(self) -> None:
        for item in [item for item, (_, end) in self.spoken.items() if end is None]:
            self.spoken[item] = (self.spoken[item][0], self.heard[-1] + 1)
            self.uplink.speech_stopped(item, (self.heard[-1] + 1 - self.heard[0]) * FRAME_MS)
            assert not self.uplink.committed(item)

    def settled(self) -> None:
        for item in [item for item, (_, end) in self.spoken.items() if end is not None][:1]:
            self.settled_to = max(self.settled_to, self.spoken.pop(item)[1] or 0)
            self.uplink.settled(item)

    def new_session(self) -> None:
        self.rewind()
        for begin, _ in self.spoken.values():  # is heard again, with what is after it, known or not
            self.settled_to = min(self.settled_to, begin)
        self.spoken.clear()

    def _give_up_on_dropped(self) -> None:
        for item, (_, end) in list(self.spoken.items()):
            if end is not None and end <= self.pushed - MOST_FRAMES:
                self.settled_to = max(self.settled_to, end)
                del self.spoken[item]

    def check(self) -> None:
        oldest_kept = self.uplink.needed_seq
        assert self.pushed - oldest_kept <= MOST_FRAMES
        if self.spoken:
            oldest = min(begin for begin, _ in self.spoken.values())
            assert oldest_kept <= max(oldest, self.pushed - MOST_FRAMES)
        else:
            assert oldest_kept >= min(self.settled_to, self.pushed)
        assert self.uplink.unsettled == bool(self.spoken)


HAPPENINGS = (
    Story.silence_and_speech,
    Story.long_speech,
    Story.sent,
    Story.alive,
    Story.speech_started,
    Story.speech_stopped,
    Story.settled,
    Story.new_session,
)


@given(st.lists(st.sampled_from(HAPPENINGS), min_size=15, max_size=60))
def test_what_is_needed_is_there_and_what_is_settled_is_not(happenings: list[Callable[[Story], None]]) -> None:
    story = Story()
    needed = 0
    for happening in happenings:
        happening(story)
        story.check()
        assert story.uplink.needed_seq >= needed, "it never goes back"
        needed = story.uplink.needed_seq
    assert story.rewind() == list(range(needed, story.pushed)), "from there on all of it"
