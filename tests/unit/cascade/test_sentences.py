"""Where text is cut for the voice."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.cascade.sentences import FIRST_CLAUSE, FIRST_LONGEST, LONGEST, UNBROKEN, Sentences


def cut(text: str, *, early: bool = False) -> list[str]:
    sentences = Sentences(early=early)
    return [*sentences.push(text), *sentences.flush()]


def wide(text: str) -> str:
    """In the full-width characters of Chinese and Japanese."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


@pytest.mark.parametrize(
    "pieces",
    [
        ["Hello there. ", "How are you? ", "Fine!"],
        ['He said "stop." ', "Then he left."],
        ["Well… ", "perhaps."],
        ["Really?! ", "Yes."],
        ["First line\n", "second line"],
        ["It is 42. ", "Next one."],
        ["こんにちは。", "元気ですか？", "はい"],
        ["I said no. ", "Then I went."],
        ["So do I. ", "Good."],
        ["He owes me (so he says.) ", "Yes."],
        ['"Stop!" he said. ', '"No." ', "And she left."],
        ["Es kostet 42. ", "Das ist viel."],
        ["「はい。」", "そう言った。", "本当！？", "ええ……。"],
    ],
)
def test_sentences_are_cut(pieces: list[str]) -> None:
    assert cut("".join(pieces)) == pieces


@pytest.mark.parametrize(
    "text",
    [
        "Pi is 3.14 and a bit",
        "That makes 1,000 euros or 2.500,50 of them",
        "Ask Dr. Smith and Mrs. Jones about it",
        "Fruit, e.g. apples, i.e. food",
        "The U.S. market and J. R. Tolkien",
        "Meet me at 10:30 or at 5 p.m. sharp",
        "Go to https://example.com/a.b?c=d!e and write to some.body@example.co.uk now",
        "version v1.2.3 of file.tar.gz",
        "Acme Inc. versus Widgets Ltd. today",
        "1. the first of a list",
        "It was approx. 5 km vs. 3 miles",
        "Room No. 5 is yours",
        "Am 3. Mai oder vom 1. bis 2. Juni, der 3. von links, Montag, 5. April",
        "Am 3./4. Mai und am 21.11. um 10:30 Uhr im 2. Stock",
        "Das sind z. B. ca. 5 Mio. Euro, d. h. viel, bzw. Nr. 5",
        "Es sind 3. und 4. Plätze",
        '"Stop!" he said to me',
        wide("123.5") + "と" + wide("1,000") + "円",
        "version 2.0.1-rc.1 at 192.168.0.1:80",
    ],
)
def test_numbers_abbreviations_addresses_and_times_are_not(text: str) -> None:
    assert cut(text) == [text]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("That is a good question, and I will answer it.", "That is a good question, "),
        ("Well, that is a good question; here it is.", "Well, that is a good question; "),
        ("On the 3rd of March 3, 2024 it was", "On the 3rd of March 3, 2024 it was"),
        ("There are some fruits e.g., apples to eat", "There are some fruits e.g., apples to eat"),
        ("At the station at 10:30 tomorrow", "At the station at 10:30 tomorrow"),
        ("Short. But then a longer one, with a clause.", "Short. "),
        (
            "I can certainly help you with a table for two tomorrow evening and with whatever else there is",
            "I can certainly help you with a table for two tomorrow evening ",
        ),
        ("word " * 30, "word " * 23),
        ("はい、そうですね、今日はとても良い天気です。", "はい、そうですね、"),
        ("合計は" + wide("12345678,000") + "円です。", "合計は" + wide("12345678,000") + "円です。"),
    ],
)
def test_first_piece_may_be_a_clause(text: str, first: str) -> None:
    assert cut(text, early=True)[0] == first


def test_only_the_first_piece_may() -> None:
    text = "That is a good question, and it has an answer, which is long. And here, as you see, is more."
    assert len(cut(text, early=True)) == 3


def test_a_sentence_leaves_as_soon_as_white_space_follows() -> None:
    sentences = Sentences()
    assert sentences.push("Yes.") == []
    assert sentences.push(" ") == ["Yes. "]


def test_endless_text_is_cut_at_white_space() -> None:
    pieces = cut("word " * 200)
    assert max(map(len, pieces)) <= LONGEST + len("word ")


def test_flush_begins_anew() -> None:
    sentences = Sentences()
    sentences.push("Half a sen")
    assert sentences.flush() == ["Half a sen"]
    assert sentences.flush() == []


TEXT = st.text(st.sampled_from("abcDI 13.,!?:;-\n\"')。é@/…"), max_size=400)


@given(TEXT, st.booleans())
def test_pieces_joined_are_the_text(text: str, early: bool) -> None:
    pieces = cut(text, early=early)
    assert "".join(pieces) == text
    assert all(pieces)


@given(st.lists(TEXT, max_size=8), st.booleans())
def test_how_it_came_in_makes_no_difference(deltas: list[str], early: bool) -> None:
    sentences = Sentences(early=early)
    pieces = [piece for delta in deltas for piece in sentences.push(delta)] + sentences.flush()
    assert pieces == cut("".join(deltas), early=early)


@given(
    st.lists(st.from_regex(r"[0-9]{1,4}([.,:][0-9]{1,3}){0,3}|[a-z]+@[a-z]+\.[a-z]{2,3}", fullmatch=True), max_size=20)
)
def test_no_cut_within_a_word(tokens: list[str]) -> None:
    words = [word for piece in cut(" ".join(tokens)) for word in piece.split()]
    assert words == tokens


WHOLE = st.sampled_from(
    [
        *"3.5 1,000.50 2.500,50 €3.99 10:30 21.11.2026 v1.2.3 192.168.0.1 $1,250.00 1/2 50% +49-170-1234567".split(),
        *"https://example.com/a.b?c=d!e,f;g:h www.example.org a.b@c-d.co.uk file.tar.gz e.g. i.e. U.S. p.m.".split(),
        *"don't co-op AT&T C++ (so) \"quoted\" 'it' [1] **bold** `x.y()` 3. 42 1st # - ... …".split(),
        *"3.5 million;1,000.50 people;Dr. Smith;Mrs. J. R. Jones;z. B. Obst;am 3. Mai;vom 1. bis 2. Juni".split(";"),
        *"Nr. 5;ca. 5 km;im 2. Stock;at 5 p.m. sharp;approx. 3 miles;Room No. 5;am 21.11. um zwei;d. h. bald".split(
            ";"
        ),
    ]
)
WORD = st.sampled_from("the and we said today, then; it oder ist nicht heute: because Monday".split())


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Tokens between which there are words, and their text as deltas, cut anywhere."""
    tokens = draw(st.lists(WHOLE | WORD, max_size=12))
    text = " ".join(part for token in tokens for part in ("so", token))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=20)))
    return tokens, [text[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(text)])]


@given(streams(), st.booleans())
def test_what_belongs_together_is_never_cut(stream: tuple[list[str], list[str]], early: bool) -> None:
    tokens, deltas = stream
    sentences = Sentences(early=early)
    pieces = [piece for delta in deltas for piece in sentences.push(delta)] + sentences.flush()
    rest = "".join(pieces)
    ends = set(itertools.accumulate(len(piece) for piece in pieces))
    at = 0
    for token in tokens:
        begin = rest.index(token, at + len("so "))
        at = begin + len(token)
        assert ends.isdisjoint(range(begin + 1, at)), f"{token!r} in {pieces}"
        at += 1


@given(
    st.lists(
        st.sampled_from("a to the reservation tomorrow, evening; we and because. restaurant!".split()), min_size=40
    )
)
def test_the_first_piece_comes_early(words: list[str]) -> None:
    first = cut(" ".join(words), early=True)[0]
    assert len(first) <= FIRST_LONGEST + max(map(len, words)) + 1
    inside = first.rstrip()[FIRST_CLAUSE:-1]
    assert not {",", ";"} & set(inside), "it ends at the first clause that is long enough"


def test_what_may_go_on_waits_for_one_more_character() -> None:
    sentences = Sentences()
    assert sentences.push("It is 42. ") == []
    assert sentences.push("A") == ["It is 42. "]
    assert sentences.push('ll said "yes." ') == []
    assert sentences.push("  ") == []
    assert sentences.push("N") == ['All said "yes."   ']
    assert sentences.push("o. ") == ["No. "]
    assert sentences.push("It is 42. ") == []
    assert sentences.flush() == ["It is 42. "]


@pytest.mark.parametrize("text", ["x", " ", "\n", "1-", "。", '."', "“", "\u3000"])
def test_nothing_is_longer_than_the_longest(text: str) -> None:
    pieces = cut(text * 2000)
    assert "".join(pieces) == text * 2000
    assert max(map(len, pieces)) <= UNBROKEN
