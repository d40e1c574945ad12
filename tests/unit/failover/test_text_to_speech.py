"""A chain of voices, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import cast

import pytest

from tests.standins.troubled import BROKEN, LOCKED_OUT, MUTE, NONE, REFUSED, Trouble, TroubledTts, too_many
from tests.standins.virtual_time import run
from tests.standins.voices import words
from tests.unit.failover.linked import linked
from trunkline.errors import ProvidersExhausted
from workers.failover.chain import Link
from workers.failover.text_to_speech import TextToSpeechChain
from workers.providers.base import TextToSpeech, Voice, Word

FIRST, SECOND = "one two three four five six", "seven eight nine"

WORD_PARTS = 4
"""Of 50 ms each."""


class Ear:
    """What comes of sentences: the audio, when it began, and when the words were said to be."""

    def __init__(self) -> None:
        self.pcm = b""
        self.first_s: float | None = None
        self.words: list[Word] = []

    async def hear(self, voice: Voice, text: str, *, last: bool = False) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        async with aclosing(voice.speak(text, last=last)) as parts:
            async for part in parts:
                if isinstance(part, Word):
                    self.words.append(part)
                    continue
                self.first_s = loop.time() - begun_s if self.first_s is None else self.first_s
                self.pcm += part

    @property
    def heard(self) -> list[str]:
        return words(self.pcm)


async def spoken(links: Sequence[Link[TextToSpeech]], *texts: str) -> Ear:
    ear, voice = Ear(), TextToSpeechChain(links).voice()
    try:
        for text in texts:
            await ear.hear(voice, text)
    finally:
        await voice.close()
    return ear


def nothing_is_open(*voices: TroubledTts) -> bool:
    return all(voice.open == 0 and voice.troubles.open == 0 for voice in voices)


def test_where_nothing_is_wrong_nobody_else_is_asked() -> None:
    first, second = TroubledTts(), TroubledTts()
    ear = run(spoken(linked(first, second), FIRST, SECOND))
    assert ear.heard == [*FIRST.split(), *SECOND.split()]
    assert second.troubles.requests == 0
    assert nothing_is_open(first, second)


@pytest.mark.parametrize(
    ("trouble", "first_s"),
    [
        (Trouble(error=BROKEN), 0.2),
        (Trouble(error=REFUSED), 0.2),
        (Trouble(error=LOCKED_OUT), 0.2),
        (Trouble(error=too_many(2)), 0.2),
        (MUTE, 1.6),
    ],
)
def test_who_cannot_begin_is_replaced_for_the_whole_answer(trouble: Trouble, first_s: float) -> None:
    first, second = TroubledTts(trouble), TroubledTts()
    ear = run(spoken(linked(first, second), FIRST, SECOND))
    assert ear.heard == [*FIRST.split(), *SECOND.split()]
    assert ear.first_s == pytest.approx(first_s)
    assert first.troubles.requests == 1
    assert nothing_is_open(first, second)


class Soundless(TroubledTts):
    """Ends each sentence in order, without having said anything."""

    async def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        self.spoken.append(text)
        for part in tuple[bytes, ...]():
            yield part


def test_who_makes_no_sound_of_words_is_replaced() -> None:
    first, second = Soundless(), TroubledTts()
    ear = run(spoken(linked(first, second), FIRST))
    assert ear.heard == FIRST.split()


@pytest.mark.parametrize("wait_s", [0.0, 3600.0])
@pytest.mark.parametrize("timed", [True, False])
def test_the_next_voice_goes_on_with_the_next_word(timed: bool, wait_s: float) -> None:
    text = "aaaaaaaaa bbbbbbbbb ccccccccc ddddddddd"
    first = TroubledTts(Trouble(wait_s, BROKEN, after=2 * WORD_PARTS), timed=timed)
    first.WORD_MS = 650 if not timed else 200  # 10 characters take as long at the usual pace
    first.troubles = type(first.troubles)(Trouble(wait_s, BROKEN, after=2 * first.WORD_MS // 50))
    second = TroubledTts(timed=timed)
    ear = run(spoken(linked(first, second), text, SECOND))
    assert ear.heard == [*text.split(), *SECOND.split()]
    assert second.spoken == ["ccccccccc ddddddddd", SECOND]
    assert nothing_is_open(first, second)


def test_a_word_that_was_cut_is_said_again_and_no_other() -> None:
    first = TroubledTts(Trouble(error=BROKEN, after=2 * WORD_PARTS + 3), timed=True)
    second = TroubledTts(timed=True)
    ear = run(spoken(linked(first, second), FIRST))
    assert second.spoken == ["three four five six"]
    assert ear.heard == ["one", "two", "three", "four", "five", "six"]


def test_less_than_a_word_is_no_beginning() -> None:
    first, second = TroubledTts(Trouble(error=BROKEN, after=WORD_PARTS - 1), timed=True), TroubledTts()
    run(spoken(linked(first, second), FIRST))
    assert second.spoken == [FIRST]


def test_a_sentence_that_broke_off_after_its_last_word_is_over() -> None:
    first, second = TroubledTts(Trouble(error=BROKEN, after=6 * WORD_PARTS), timed=True), TroubledTts()
    ear = run(spoken(linked(first, second), FIRST, SECOND))
    assert second.spoken == [SECOND]
    assert ear.heard == [*FIRST.split(), *SECOND.split()]


def test_the_times_of_words_are_those_of_all_that_was_heard() -> None:
    first = TroubledTts(Trouble(error=BROKEN, after=2 * WORD_PARTS + 2), timed=True)
    ear = run(spoken(linked(first, TroubledTts(timed=True)), FIRST))
    assert [(word.text, word.start_ms, word.end_ms) for word in ear.words] == [
        ("one", 0, 200),
        ("two", 200, 400),
        ("three", 500, 700),
        ("four", 700, 900),
        ("five", 900, 1100),
        ("six", 1100, 1300),
    ]


def test_a_voice_learns_its_pace_and_is_cut_by_it() -> None:
    first, second = TroubledTts(NONE, Trouble(error=BROKEN, after=9)), TroubledTts()
    text = "aaaaaaaaa bbbbbbbbb ccccccccc ddddddddd"
    run(spoken(linked(first, second), " ".join([text] * 20), text))
    assert second.spoken == ["ccccccccc ddddddddd"], "at the usual pace it would have said less than a word"


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_all_voices_are_heard_at_the_first_one_s_rate(rate_hz: int) -> None:
    first = TroubledTts(Trouble(error=BROKEN, after=2 * WORD_PARTS), timed=True, rate_hz=rate_hz)
    links = linked(first, TroubledTts(timed=True, rate_hz=48_000))
    assert TextToSpeechChain(links).rate_hz == rate_hz
    assert len(run(spoken(links, FIRST)).pcm) == 6 * 200 * rate_hz // 1000 * 2


def test_a_rate_that_nothing_can_be_resampled_to_is_kept_only_where_all_have_it() -> None:
    espeak, other = TroubledTts(rate_hz=22_050), TroubledTts()
    assert TextToSpeechChain(linked(espeak, espeak)).rate_hz == 22_050
    assert TextToSpeechChain(linked(espeak, other)).rate_hz == 24_000


def test_when_nobody_is_left_each_is_named_and_what_came_stands() -> None:
    first, second = TroubledTts(Trouble(error=BROKEN, after=2 * WORD_PARTS), timed=True), TroubledTts(MUTE)

    async def conversation() -> list[str]:
        ear, voice = Ear(), TextToSpeechChain(linked(first, second)).voice()
        with pytest.raises(
            ProvidersExhausted, match="text-to-speech: nobody is left: troubled: broke down; b: nothing"
        ):
            await ear.hear(voice, FIRST)
        with pytest.raises(ProvidersExhausted):
            await ear.hear(voice, SECOND)
        await voice.close()
        return ear.heard

    assert run(conversation()) == ["one", "two"]
    assert nothing_is_open(first, second)


def test_who_is_late_may_still_win_and_the_next_stays_in_reserve() -> None:
    first = TroubledTts(Trouble(1.5), Trouble(error=BROKEN))
    second = TroubledTts()
    ear = run(spoken(linked(first, second), FIRST, SECOND))
    assert ear.heard == [*FIRST.split(), *SECOND.split()]
    assert ear.first_s == pytest.approx(1.6)
    assert second.spoken == [FIRST, SECOND], "asked, beaten, and asked again"
    assert nothing_is_open(first, second)


def test_a_sentence_without_words_may_have_no_sound() -> None:
    second = TroubledTts()
    ear = run(spoken(linked(Soundless(), second), "..."))
    assert ear.pcm == b""
    assert second.spoken == []


class Ahead(TroubledTts):
    """Remembers what its voices were asked for, wanted or not."""

    def __init__(self, *plan: Trouble) -> None:
        super().__init__(*plan)
        self.asked: list[str] = []

    def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        self.asked.append(text)
        return super().speak(text)


def test_sentences_asked_for_ahead_are_said_by_whoever_has_the_answer_then() -> None:
    first, second = Ahead(NONE, Trouble(error=BROKEN)), Ahead()

    async def conversation() -> list[str]:
        voice = TextToSpeechChain(linked(first, second)).voice()
        streams = [voice.speak(text, last=False) for text in (FIRST, SECOND, FIRST)]
        assert first.asked == [FIRST, SECOND, FIRST]
        pcm = b"".join([part async for part in streams[0] if isinstance(part, bytes)])
        pcm += cast(bytes, await anext(streams[1]))
        assert second.asked == [SECOND, FIRST], "the third is asked for while the second is said"
        for stream in streams[1:]:
            pcm += b"".join([part async for part in stream if isinstance(part, bytes)])
        await voice.close()
        return words(pcm)

    assert run(conversation()) == [*FIRST.split(), *SECOND.split(), *FIRST.split()]
    assert second.asked == second.spoken == [SECOND, FIRST]
    assert nothing_is_open(first, second)


def test_a_sentence_closed_early_leaves_those_after_it() -> None:
    first = TroubledTts()

    async def conversation() -> list[str]:
        voice = TextToSpeechChain(linked(first)).voice()
        given_up, wanted = voice.speak(FIRST, last=False), voice.speak(SECOND, last=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(given_up)
        pcm = b"".join([part async for part in wanted if isinstance(part, bytes)])
        await voice.close()
        return words(pcm)

    assert run(conversation()) == SECOND.split()
    assert nothing_is_open(first)


def test_a_sentence_closed_at_its_first_audio_is_closed_at_its_vendor() -> None:
    first = TroubledTts()

    async def conversation() -> None:
        voice = TextToSpeechChain(linked(first)).voice()
        async with aclosing(voice.speak(FIRST, last=True)) as parts:
            await anext(parts)
        assert first.troubles.open == 0
        await voice.close()

    run(conversation())


def test_an_interruption_leaves_nothing_open_and_blames_nobody() -> None:
    first, second = TroubledTts(MUTE), TroubledTts(MUTE)
    links = linked(first, second)

    async def conversation() -> None:
        for wait_s in (1.0, 2.0):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await spoken(links, FIRST)
            assert nothing_is_open(first, second)

    run(conversation())
    assert [link.breaker.tally.failed for link in links] == [1, 0], "the first was beyond its deadline once"


def test_an_answer_that_was_never_spoken_leaves_nothing_open() -> None:
    first = TroubledTts()

    async def conversation() -> None:
        voice = TextToSpeechChain(linked(first)).voice()
        voice.speak(FIRST, last=True)
        await voice.close()
        await voice.close()

    run(conversation())
    assert nothing_is_open(first)


def test_a_voice_that_failed_a_few_times_is_left_alone_until_it_is_back() -> None:
    first, second = TroubledTts(MUTE, MUTE, MUTE, NONE), TroubledTts()
    links = linked(first, second)

    async def conversation() -> list[float | None]:
        waits = [(await spoken(links, FIRST, SECOND)).first_s for _ in range(4)]
        await asyncio.sleep(15)
        return waits + [(await spoken(links, FIRST, SECOND)).first_s for _ in range(2)]

    assert run(conversation()) == pytest.approx([1.6, 1.6, 1.6, 0.1, 0.1, 0.1])
    assert links[0].breaker.closed


def test_a_voice_that_others_found_mute_is_not_waited_for_within_an_answer() -> None:
    first, second = TroubledTts(NONE, MUTE), TroubledTts()
    links = linked(first, second)

    async def conversation() -> float | None:
        ear, voice = Ear(), TextToSpeechChain(links).voice()
        await ear.hear(voice, FIRST)
        for _ in range(3):
            await spoken(links, FIRST)
        ear.first_s = None
        await ear.hear(voice, SECOND)
        await voice.close()
        return ear.first_s

    assert run(conversation()) == pytest.approx(0.1)
    assert nothing_is_open(first, second)


def test_it_speaks_without_a_voice_of_an_answer_too() -> None:
    async def conversation() -> list[str]:
        chain = TextToSpeechChain(linked(TroubledTts(MUTE), TroubledTts()))
        return words(b"".join([part async for part in chain.speak(FIRST) if isinstance(part, bytes)]))

    assert run(conversation()) == FIRST.split()
