from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adapters.playout import ACK_AGE_MS, ACK_PATIENCE_MS, DOUBT_MS, LEAD_MS, Chunk, Heard, Playout

RATE_HZ = 8000
BYTES_PER_MS = 16


def audio(turn: int, start_ms: int, length_ms: int) -> bytes:
    """Every ms says which turn and ms it is."""
    return b"".join(
        (turn * 1_000_000 + ms + 1).to_bytes(BYTES_PER_MS, "little") for ms in range(start_ms, start_ms + length_ms)
    )


def chunk(turn: int, start_ms: int, length_ms: int = 100, sentence_end: bool = False) -> Chunk:
    return Chunk(turn, start_ms, audio(turn, start_ms, length_ms), sentence_end)


def spoken(playout: Playout, turn: int, length_ms: int, now_ms: float = 0.0, piece_ms: int = 100) -> None:
    for start_ms in range(0, length_ms, piece_ms):
        playout.receive(chunk(turn, start_ms, min(piece_ms, length_ms - start_ms)), now_ms)


def length_ms(chunks: list[Chunk]) -> int:
    return sum(len(piece.pcm) for piece in chunks) // BYTES_PER_MS


def run(playout: Playout, now_ms: int, until_ms: int, step_ms: int = 20) -> tuple[list[Chunk], list[Heard]]:
    chunks: list[Chunk] = []
    finished: list[Heard] = []
    for at_ms in range(now_ms, until_ms, step_ms):
        fed, done = playout.due(at_ms)
        chunks += fed
        finished += done
    return chunks, finished


def heard_as(chunks: list[Chunk]) -> bytes:
    return b"".join(piece.pcm for piece in chunks)


def test_a_turn_is_fed_as_it_is_heard() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 1000)
    first, _ = playout.due(0)
    assert 0 < length_ms(first) <= LEAD_MS
    assert playout.due(0) == ([], []), "nothing more until some was heard"
    rest, finished = run(playout, 20, 1100)
    assert finished == []
    assert heard_as(first + rest) == audio(1, 0, 1000)
    assert playout.heard == Heard(1, 1000, 1000, False)
    playout.end(1)
    assert playout.due(1100) == ([], [Heard(1, 1000, 1000, True)])
    assert playout.heard == Heard(1, 1000, 1000, True)
    assert not playout.active


@pytest.mark.parametrize("piece_ms", [20, 100, 200, 2000])
def test_the_lead_is_never_exceeded_however_large_the_pieces(piece_ms: int) -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 2000, piece_ms=piece_ms)
    fed_ms = 0
    for now_ms in range(0, 2000, 20):
        chunks, _ = playout.due(now_ms)
        fed_ms += length_ms(chunks)
        assert fed_ms - now_ms <= LEAD_MS
        assert fed_ms - now_ms >= min(LEAD_MS // 2, 2000 - now_ms), "the wire never runs dry"
    assert fed_ms == 2000


def test_nothing_is_said_to_be_heard_that_was_not_fed() -> None:
    playout = Playout(RATE_HZ)
    playout.receive(chunk(1, 0), 0)
    playout.due(0)
    playout.due(5000)
    assert playout.heard == Heard(1, 100, 100, False)
    playout.receive(chunk(1, 100), 5000)
    playout.due(5000)
    playout.due(5040)
    assert playout.heard.played_ms == 140, "a pause of the speaker is no playing time"


def test_what_was_had_is_dropped_and_what_is_missing_is_silent() -> None:
    playout = Playout(RATE_HZ)
    playout.receive(chunk(1, 0), 0)
    playout.receive(chunk(1, 0), 0)
    playout.receive(chunk(1, 60, 80), 0)
    playout.receive(chunk(1, 200, 100), 0)
    chunks, _ = playout.due(0)
    assert heard_as(chunks) == audio(1, 0, 140) + bytes(60 * BYTES_PER_MS) + audio(1, 200, 100)
    playout.receive(Chunk(1, 300, b"", True), 0)
    assert playout.due(0) == ([], [])


def test_a_wire_that_joins_in_mid_turn_begins_there() -> None:
    playout = Playout(RATE_HZ)
    playout.receive(chunk(3, 1240), 0)
    chunks, _ = playout.due(0)
    assert [piece.offset_ms for piece in chunks] == [1240]
    assert playout.heard == Heard(3, 1340, 1240, False)


def test_turns_follow_each_other_and_each_ends_once() -> None:
    playout = Playout(RATE_HZ)
    for turn in (1, 2, 3):
        spoken(playout, turn, 200)
        assert playout.end(turn) is None
    chunks, finished = run(playout, 0, 700)
    assert heard_as(chunks) == audio(1, 0, 200) + audio(2, 0, 200) + audio(3, 0, 200)
    assert finished == [Heard(turn, 200, 200, True) for turn in (1, 2, 3)]


def test_a_new_turn_ends_the_one_before() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 100)
    spoken(playout, 2, 100)
    _, finished = run(playout, 0, 300)
    assert finished == [Heard(1, 100, 100, True)]


def test_a_turn_without_audio_is_over_at_once() -> None:
    playout = Playout(RATE_HZ)
    assert playout.end(1) == Heard(1, 0, 0, True)
    assert playout.heard == Heard(1, 0, 0, True)
    playout.receive(chunk(1, 0), 0)
    assert playout.due(0) == ([], []), "too late"


def test_a_turn_without_audio_waits_for_the_one_before() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 200)
    assert playout.end(2) is None
    assert playout.heard.turn == 1
    playout.receive(chunk(1, 200), 0)
    chunks, finished = run(playout, 0, 400)
    assert heard_as(chunks) == audio(1, 0, 300)
    assert finished == [Heard(1, 300, 300, True), Heard(2, 0, 0, True)]


def test_the_end_of_a_turn_that_is_over_already() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 2, 100)
    playout.clear(2, 0)
    assert playout.end(2) == Heard(2, 100, 0, True)
    assert playout.end(1) == Heard(1, 0, 0, True)
    assert playout.heard.turn == 2


def test_clear_says_what_was_heard_and_nothing_of_it_comes_out_any_more() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 1000)
    run(playout, 0, 300)
    assert playout.clear(1, 300) == Heard(1, 1000, 300, True)
    playout.receive(chunk(1, 1000), 300)
    assert playout.due(300) == ([], [])
    assert not playout.active
    spoken(playout, 2, 100, 320)
    assert heard_as(playout.due(320)[0]) == audio(2, 0, 100)


def test_clear_takes_earlier_turns_along_and_leaves_later_ones() -> None:
    playout = Playout(RATE_HZ)
    for turn in (1, 2, 3):
        spoken(playout, turn, 100)
    playout.due(0)
    assert playout.clear(2, 50) == Heard(2, 100, 0, True)
    playout.rewind(0, 0)
    chunks, _ = playout.due(50)
    assert heard_as(chunks) == audio(3, 0, 100)


def test_clear_of_what_was_heard_to_its_end_already() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 100)
    playout.end(1)
    playout.due(0)
    assert playout.due(100)[1] == [Heard(1, 100, 100, True)]
    assert playout.clear(1, 200) == Heard(1, 100, 100, True)
    assert playout.clear(7, 200) == Heard(7, 0, 0, True), "a turn that never came"
    assert playout.clear(1, 200).turn == 1
    assert playout.heard.turn == 7, "what an old clear says is no news"


def test_pause_holds_both_the_wire_and_the_clock() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 1000)
    run(playout, 0, 200)
    playout.hold(200)
    assert run(playout, 200, 3000) == ([], [])
    assert playout.heard.played_ms == 200
    playout.release(3000)
    playout.due(3040)
    assert playout.heard.played_ms == 240


def test_a_turn_that_ends_as_it_is_paused_is_not_forgotten() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 100)
    playout.end(1)
    playout.due(0)
    playout.hold(100)
    assert playout.active, "there is still something to tell"
    assert playout.due(120) == ([], [Heard(1, 100, 100, True)])


def test_a_turn_that_ends_as_the_next_is_cleared_is_not_forgotten() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 100)
    spoken(playout, 2, 100)
    playout.due(0)
    assert playout.clear(2, 150) == Heard(2, 100, 50, True)
    assert playout.due(160)[1] == [Heard(1, 100, 100, True)]


def test_acknowledgements_that_come_late_count_too() -> None:
    """As a telephone's marks do: by the way there and back."""
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 400)
    playout.end(1)
    finished: list[tuple[int, Heard]] = []
    for at_ms in range(0, 600, 10):
        if at_ms % 100 == 50 and at_ms > 100:
            playout.acknowledge(1, at_ms - 50, at_ms)
        finished += [(at_ms, heard) for heard in playout.due(at_ms)[1]]
    assert finished == [(450, Heard(1, 400, 400, True))]


def test_a_client_plays_on_between_its_words() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 2000)
    fed_ms = length_ms(playout.due(0)[0])
    playout.acknowledge(1, 100, 150)
    fed_ms += length_ms(playout.due(150)[0])
    fed_ms += length_ms(playout.due(250)[0])
    assert fed_ms == 600, "what it has not said yet counts as heard when the next is fed"
    assert playout.heard.played_ms < 200
    assert playout.clear(1, 300).played_ms == 250, "it said 100 ms, 150 ms ago"


def test_acknowledgements_count_instead_of_the_clock() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 1000)
    playout.due(0)
    playout.acknowledge(1, 40, 20)
    playout.due(500)
    assert playout.heard.played_ms == 40
    playout.acknowledge(1, 20, 500)
    assert playout.heard.played_ms == 40, "what was heard stays heard"
    playout.acknowledge(1, 60_000, 520)
    assert playout.heard.played_ms <= LEAD_MS + ACK_AGE_MS, "nobody heard what was not sent"
    playout.acknowledge(9, 100, 530)


def test_a_client_that_stops_acknowledging_is_taken_to_play() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 1000)
    playout.due(0)
    playout.acknowledge(1, 100, 100)
    playout.due(100 + ACK_PATIENCE_MS - 1)
    assert playout.heard.played_ms == 100
    _, finished = run(playout, 100 + ACK_PATIENCE_MS, 100 + ACK_PATIENCE_MS + 1000)
    playout.end(1)
    assert run(playout, 4000, 4100)[1] == [Heard(1, 1000, 1000, True)]
    assert finished == []


def test_a_returned_client_is_fed_again_what_it_did_not_get() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 1000)
    run(playout, 0, 100)
    playout.hold(100)
    playout.rewind(1, 150)
    playout.release(5000)
    chunks, _ = run(playout, 5000, 6100)
    assert chunks[0].offset_ms == 150
    assert heard_as(chunks) == audio(1, 150, 850)


def test_a_returned_client_that_got_nothing_of_a_later_turn() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 200)
    spoken(playout, 2, 500)
    run(playout, 0, 100)
    playout.hold(100)
    playout.rewind(1, 200)
    playout.release(100)
    chunks, _ = run(playout, 100, 900)
    assert heard_as(chunks) == audio(2, 0, 500)


def test_a_returned_client_that_claims_more_than_was_sent() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 1000)
    sent = heard_as(playout.due(0)[0])
    playout.hold(0)
    playout.rewind(1, 2**53)
    playout.release(0)
    chunks, _ = run(playout, 0, 1100)
    assert sent + heard_as(chunks) == audio(1, 0, 1000)


def test_what_a_returned_client_may_not_have_been_told_of_is_not_taken_for_heard() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 8000)
    run(playout, 0, 1000)
    playout.hold(1000)
    heard = playout.heard
    playout.rewind(1, 1100)
    playout.doubt(2000)
    playout.release(2000)
    fed, _ = run(playout, 2000, 2000 + DOUBT_MS)
    assert playout.heard == heard
    assert fed[0].offset_ms == 1100
    assert fed[-1].offset_ms + length_ms(fed[-1:]) <= heard.played_ms + LEAD_MS, "that is on its way, if anything is"
    run(playout, 2000 + DOUBT_MS, 3000 + DOUBT_MS)
    assert playout.heard.played_ms == pytest.approx(heard.played_ms + 1000, abs=40), "it listens, and says nothing"


def test_a_returned_client_that_knows_of_it_is_taken_to_play_from_then_on() -> None:
    playout = Playout(RATE_HZ)
    spoken(playout, 1, 2000)
    playout.doubt(0)
    run(playout, 0, 300)
    assert playout.heard.played_ms == 0
    playout.trust(300)
    run(playout, 300, 1000)
    assert playout.heard.played_ms == pytest.approx(700, abs=40)


def test_whole_sentences_are_fed_at_once_and_never_by_halves() -> None:
    playout = Playout(RATE_HZ, whole_sentences=True)
    playout.receive(chunk(1, 0, 800), 0)
    assert playout.due(0) == ([], []), "its end has not come yet"
    playout.receive(chunk(1, 800, 200, sentence_end=True), 0)
    chunks, _ = playout.due(0)
    assert heard_as(chunks) == audio(1, 0, 1000)
    assert [piece.sentence_end for piece in chunks] == [False, True]
    playout.receive(chunk(1, 1000, 100, sentence_end=True), 100)
    assert playout.due(100) == ([], []), "not due yet"
    assert heard_as(playout.due(700)[0]) == audio(1, 1000, 100)


def test_a_short_sentence_before_an_unfinished_one() -> None:
    playout = Playout(RATE_HZ, whole_sentences=True)
    playout.receive(chunk(1, 0, 100, sentence_end=True), 0)
    playout.receive(chunk(1, 100, 100), 0)
    assert heard_as(playout.due(0)[0]) == audio(1, 0, 100)
    playout.end(1)
    assert heard_as(playout.due(20)[0]) == audio(1, 100, 100), "nothing more comes: this was all of it"


def test_an_unfinished_sentence_ends_with_its_turn() -> None:
    playout = Playout(RATE_HZ, whole_sentences=True)
    playout.receive(chunk(1, 0, 100), 0)
    playout.receive(chunk(2, 0, 100), 0)
    assert heard_as(playout.due(0)[0]) == audio(1, 0, 100)
    playout.end(2)
    assert heard_as(playout.due(0)[0]) == audio(2, 0, 100)


def test_of_a_client_that_does_not_say_what_it_received_only_the_unheard_is_kept() -> None:
    playout = Playout(RATE_HZ, keep_ms=0)
    for start in range(0, 2000, 200):
        playout.receive(chunk(1, start, 200), 0)
    run(playout, 0, 1000)
    heard_ms = playout.heard.played_ms
    playout.rewind(1, heard_ms)
    again = heard_as(playout.due(1000)[0])
    assert len(again) > 200 * BYTES_PER_MS
    assert again == audio(1, heard_ms, len(again) // BYTES_PER_MS)
    playout.rewind(1, 0)
    (first, *_), _ = playout.due(1000)
    assert heard_ms - first.offset_ms <= 200, "all but the piece that is being heard is forgotten"


class Conversation(RuleBasedStateMachine):
    """Anything may happen in any order: what comes out is what went in, in order, at most the lead ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.playout = Playout(RATE_HZ)
        self.now_ms = 0
        self.turn = 1
        self.sent_ms = {1: 0}
        self.out: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.cleared: set[int] = set()
        self.finished: list[Heard] = []
        self.held = False

    @rule(length=st.sampled_from([20, 60, 200, 1000]), again=st.booleans())
    def speak(self, length: int, again: bool) -> None:
        start = max(0, self.sent_ms[self.turn] - (40 if again else 0))
        self.playout.receive(chunk(self.turn, start, length), self.now_ms)
        if self.turn not in self.cleared | self.ended:
            self.sent_ms[self.turn] = max(self.sent_ms[self.turn], start + length)

    @rule()
    def end_turn(self) -> None:
        if self.turn not in self.cleared:
            silent = self.playout.end(self.turn)
            self.ended.add(self.turn)
            if silent is not None:
                assert self.sent_ms[self.turn] == 0 or silent in self.finished
            self.next_turn()

    @rule()
    def clear(self) -> None:
        before = self.playout.heard
        heard = self.playout.clear(self.turn, self.now_ms)
        assert heard.turn == self.turn
        assert heard.done
        assert heard.played_ms <= len(self.out.get(self.turn, b"")) // BYTES_PER_MS
        assert before.turn < self.turn or heard.played_ms >= before.played_ms
        self.held = False
        self.cleared |= set(range(1, self.turn + 1))
        self.next_turn()

    def next_turn(self) -> None:
        self.turn += 1
        self.sent_ms[self.turn] = 0

    @rule(elapsed=st.sampled_from([0, 20, 100, 3000]))
    def wait(self, elapsed: int) -> None:
        for _ in range(0, elapsed, 20):
            self.now_ms += 20
            self.pump()

    @rule()
    def pump(self) -> None:
        chunks, finished = self.playout.due(self.now_ms)
        assert not (chunks and self.held)
        for piece in chunks:
            assert piece.turn not in self.cleared
            out = self.out.setdefault(piece.turn, b"")
            assert piece.offset_ms * BYTES_PER_MS == len(out)
            self.out[piece.turn] = out + piece.pcm
        for heard in finished:
            assert heard.turn not in {done.turn for done in self.finished}
            assert heard.played_ms == heard.received_ms
        self.finished += finished

    @rule()
    def pause(self) -> None:
        self.playout.hold(self.now_ms)
        self.held = True

    @precondition(lambda self: self.held)
    @rule()
    def go_on(self) -> None:
        self.playout.release(self.now_ms)
        self.held = False

    @rule(back_ms=st.integers(-50, 500))
    def acknowledge(self, back_ms: int) -> None:
        head = self.playout.heard
        self.playout.acknowledge(head.turn, head.received_ms - back_ms, self.now_ms)

    @rule(lost_ms=st.integers(0, 300), knows=st.booleans())
    def come_back(self, lost_ms: int, knows: bool) -> None:
        if not self.out:
            return
        (self.playout.trust if knows else self.playout.doubt)(self.now_ms)
        last = max(self.out)
        received = max(0, len(self.out[last]) // BYTES_PER_MS - lost_ms)
        head = self.playout.heard
        if head.turn == last:
            received = max(received, head.played_ms)
        self.playout.rewind(last, received)
        if last not in self.cleared and last not in {heard.turn for heard in self.finished}:
            self.out[last] = self.out[last][: received * BYTES_PER_MS]

    @invariant()
    def nothing_is_heard_before_it_is_fed_nor_fed_too_early(self) -> None:
        head = self.playout.heard
        if not self.playout.active or head.done:
            return
        assert head.played_ms <= len(self.out.get(head.turn, b"")) // BYTES_PER_MS
        ahead = sum(len(out) for turn, out in self.out.items() if turn >= head.turn) // BYTES_PER_MS - head.played_ms
        assert ahead <= LEAD_MS + ACK_AGE_MS, "of what it said it heard; it has probably played on since"

    def teardown(self) -> None:
        self.playout.end(self.turn)
        if self.held:
            self.go_on()
        self.now_ms += ACK_PATIENCE_MS
        for _ in range(40):
            self.wait(3000)
            if not self.playout.active:
                break
        assert not self.playout.active
        for turn, sent_ms in self.sent_ms.items():
            if turn not in self.cleared:
                assert self.out.get(turn, b"") == audio(turn, 0, sent_ms)


Conversation.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestConversation = Conversation.TestCase
