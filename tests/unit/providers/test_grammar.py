import pytest

from trunkline.errors import SettingsError
from workers.providers.pocketsphinx.grammar import FINAL, START, arcs, complete_words, expand


def test_notation() -> None:
    assert expand("What time is it [now]") == [("what", "time", "is", "it"), ("what", "time", "is", "it", "now")]
    assert expand("(good [old] | hello) day") == [("good", "day"), ("good", "old", "day"), ("hello", "day")]


@pytest.mark.parametrize("phrase", ["(a | b", "a)", "[a", "say <name>", "a | (b]", "three 3"])
def test_wrong_notation_is_named(phrase: str) -> None:
    with pytest.raises(SettingsError, match="phrase"):
        expand(phrase)


def test_too_many_sentences() -> None:
    with pytest.raises(SettingsError, match="more than"):
        expand(" ".join(["(a | b | c | d)"] * 8))


def test_arcs_lead_through_every_sentence() -> None:
    sentences = [("hello",), ("hello", "there"), ("good", "day")]
    following = {(arc.start, arc.word, arc.end) for arc in arcs(sentences)}
    for sentence in sentences:
        states = {START}
        for word in sentence:
            states = {end for start, arc_word, end in following if start in states and arc_word == word}
        assert FINAL in states


def test_complete_words() -> None:
    sentences = frozenset({("hello",), ("hello", "there"), ("what", "time", "is", "it")})
    assert complete_words("hello what time is it".split(), sentences) == 5
    assert complete_words("hello there are".split(), sentences) == 2
    assert complete_words("what time".split(), sentences) == 0
    assert complete_words([], sentences) == 0
