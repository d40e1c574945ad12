"""Words that a voice tells the times of, found in what is written."""

from __future__ import annotations

import itertools

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from workers.backend import Answer, Snapshot, Spoken
from workers.cascade.speakable import Reader, Reading
from workers.cascade.word_ends import WordEnds, by_length
from workers.context import CHARACTER_MS, heard
from workers.providers.base import Word
from workers.snapshot import pack, unpack


def ends(reading: Reading, *words: str, word_ms: int = 100) -> dict[str, int]:
    """What is written up to the end of each word, and when that is."""
    found = WordEnds(reading)
    for number, word in enumerate(words):
        found.add(Word(word, number * word_ms, (number + 1) * word_ms))
    return {reading.written[:end]: ms for end, ms in found.ends}


def plain(text: str) -> Reading:
    return Reading(text, text)


def test_words_end_with_their_punctuation() -> None:
    assert ends(plain('Well, so it\'s "done." '), "well", "so", "it's", "done") == {
        "Well,": 100,
        "Well, so": 200,
        "Well, so it's": 300,
        'Well, so it\'s "done."': 400,
    }


def test_what_is_said_otherwise_counts_when_all_of_it_is() -> None:
    reading = Reader("en").read("It is $5.50 now.")
    assert ends(reading, *"It is 5 dollars and 50 cents now.".split()) == {
        "It": 100,
        "It is": 200,
        "It is $5.50": 700,
        "It is $5.50 now.": 800,
    }


def test_words_that_are_told_otherwise_are_passed_over() -> None:
    assert ends(plain("At 10:30 we go home."), "at", "ten", "thirty", "we", "go", "home") == {
        "At": 100,
        "At 10:30 we": 400,
        "At 10:30 we go": 500,
        "At 10:30 we go home.": 600,
    }
    assert ends(plain("I have a hat."), "I", "a", "hat") == {"I": 100, "I have a": 200, "I have a hat.": 300}


def test_scripts_without_spaces() -> None:
    assert list(ends(plain("今日は晴れです。"), "今日", "は", "晴れ", "です").values()) == [100, 200, 300, 400]


def test_the_times_of_words_are_in_the_snapshot_and_older_ones_have_none() -> None:
    answer = Answer(2, "One two.", spoken=[Spoken("One two.", 0, 900, ((3, 700), (8, 900)))])
    assert unpack(pack(Snapshot(answer=answer))).answer == answer
    older = msgpack.unpackb(pack(Snapshot(answer=answer)))
    del older["answer"]["spoken"][0]["words"]
    assert unpack(msgpack.packb(older)).answer == Answer(2, "One two.", spoken=[Spoken("One two.", 0, 900)])


def test_heard_of_a_sentence_that_is_being_made_goes_on_from_the_last_word_that_was_told() -> None:
    making = [Spoken("One two three four.", 1000, 1000, ((3, 900),))]
    assert heard(making, 1899) == ""
    assert heard(making, 1900) == "One"
    assert heard(making, 1900 + 5 * CHARACTER_MS) == "One two"


def test_heard_of_a_script_without_spaces_is_cut_within_it() -> None:
    sentence = Spoken("今日は晴れです。", 0, 800, ((2, 300), (3, 400)))
    assert heard([sentence], 399) == "今日"
    assert heard([sentence], 400) == "今日は"


def test_without_times_what_is_long_to_say_takes_long() -> None:
    reading = Reader("en").read("It is $5.50 a week at https://www.example.com/9f8e7d6c5b4a39281706152433425160 now.")
    assert reading.spoken == "It is 5 dollars and 50 cents a week at example dot com now."
    ends = by_length(reading, 10 * len(reading.spoken))
    sentence = Spoken(reading.written, 0, 10 * len(reading.spoken), ends)
    told = {
        text: heard([sentence], 10 * (reading.spoken.index(text) + len(text)))
        for text in ("is", "50", "cents", "at", "dot", "com", "now.")
    }
    assert told["is"] == told["50"] == "It is"
    assert told["cents"] == "It is $5.50"
    assert told["at"] == told["dot"] == "It is $5.50 a week at"
    assert told["com"] == reading.written.removesuffix(" now.")
    assert told["now."] == reading.written


@given(st.text(st.sampled_from("aB 05.:-*_#$%🙂\n"), max_size=60), st.integers(0, 9000))
def test_lengths_give_ends_that_grow(text: str, length_ms: int) -> None:
    ends = by_length(Reader("en").read(text), length_ms)
    pairs = itertools.pairwise([(0, 0), *ends])
    assert all(before < after and before_ms < after_ms for (before, before_ms), (after, after_ms) in pairs)


WORDS = st.lists(st.sampled_from("the a I and they're 5 10:30 übrigens 今日 -- co-op".split()), max_size=12)


@given(WORDS, WORDS, st.lists(st.integers(0, 3000), min_size=12, max_size=12))
def test_whatever_a_voice_says_ends_grow(written: list[str], told: list[str], times: list[int]) -> None:
    reading = plain(" ".join(written))
    found = WordEnds(reading)
    for word, ms in zip(told, times, strict=False):
        found.add(Word(word, ms, ms))
    pairs = list(itertools.pairwise([(0, 0), *found.ends]))
    assert all(before < after and before_ms < after_ms for (before, before_ms), (after, after_ms) in pairs)
    assert all(end <= len(reading.written) for end, _ in found.ends)


@given(WORDS.filter(bool), st.lists(st.integers(1, 900), min_size=12, max_size=12), st.integers(0, 12_000))
def test_heard_is_what_ended_before(words: list[str], lengths: list[int], played_ms: int) -> None:
    text = " ".join(words)
    found = WordEnds(plain(text))
    at_ms, spoken_by = 0, [(0, "")]
    for number, (word, length) in enumerate(zip(words, lengths, strict=False), 1):
        found.add(Word(word, at_ms, at_ms + length))
        at_ms += length
        spoken_by.append((at_ms, " ".join(words[:number])))
    told = [spoken for spoken in spoken_by if any(character.isalnum() for character in spoken[1].split(" ")[-1])]
    sentence = Spoken(text, 0, at_ms, found.ends)
    if words == [word for word in words if any(map(str.isalnum, word)) and "今" not in word]:
        expected = [said for end_ms, said in [(0, ""), *told] if end_ms <= played_ms][-1]
        assert heard([sentence], played_ms) == expected
    else:
        assert text.startswith(heard([sentence], played_ms))
