"""What a voice is given of what is written, and where each of its words stands there."""

from __future__ import annotations

import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.cascade.speakable import Reader, Reading


def said(text: str, language: str = "en") -> str:
    return Reader(language).read(text).spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("**Sure!** This is *really* __very__ ~~good~~ `code`.", "Sure! This is really very good code."),
        ("***both***, and a **bold clause, ", "both, and a bold clause, "),
        ("which** ends later", "which ends later"),
        ("# Opening hours\n", "Opening hours\n"),
        ("- one of them\n", "one of them\n"),
        ("* [ ] to do\n", "to do\n"),
        ("> as they say", "as they say"),
        ("1. the first", "1. the first"),
        ('See [our site](https://www.example.com/x_(y)?q=1 "title") now.', "See our site now."),
        ("![A map](map.png) of it", "A map of it"),
        ("```python\n", "\n"),
        ("---\n", "\n"),
        ("|---|:--:|\n", "\n"),
        ("| Name | Price |\n", "Name, Price\n"),
        ("<b>Now</b><br/> a < b", "Now a < b"),
        ("Fish &amp; chips &lt;3", "Fish and chips <3"),
        ("It is so.[1] And so【4†source】.", "It is so. And so."),
        (r"2 \* 3 \_x\_", "2 * 3 _x_"),
        ("snake_case and 2 * x and a * b", "snake_case and 2 * x and a * b"),
    ],
)
def test_markup_is_not_read_out(written: str, spoken: str) -> None:
    assert said(written) == spoken
    assert said(written, "sv").replace("&", "and") == spoken, "in any language"


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hi 🙂 there 👍🏽! 👨‍👩‍👧", "Hi there!"),
        ("Flags 🇩🇪 and keys 1️⃣ :)", "Flags and keys 1"),
        ("zero\u200bwidth and soft\u00adhyphen", "zerowidth and softhyphen"),
        ("A → B", "A, B"),
    ],
)
def test_what_has_no_sound_is_left_out(written: str, spoken: str) -> None:
    assert said(written) == said(written, "sv") == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Write to jane.doe-x@example.co.uk.", "Write to jane dot doe dash x at example dot co dot uk."),
        ("See https://www.example.com/booking.", "See example dot com slash booking."),
        ("See www.example.com!", "See example dot com!"),
        ("(https://example.com/a/b?utm=1#top)", "(example dot com slash a slash b)"),
        ("https://example.com/9f8e7d6c5b4a39281706152433425160", "example dot com"),
        ("It is on example.com/menu.", "It is on example dot com slash menu."),
        ("Or example.com, or file.txt.", "Or example.com, or file.txt."),
    ],
)
def test_addresses_are_said_as_people_say_them(written: str, spoken: str) -> None:
    assert said(written) == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("$5, $1, $5.50, $0.99, £1.01", "5 dollars, 1 dollar, 5 dollars and 50 cents, 99 cents, 1 pound and 1 penny"),
        ("$1,250.00 or €3.5 million or $5bn", "1,250 dollars or 3.5 million euros or 5 billion dollars"),
        ("5 €, EUR 5 and 5 USD", "5 euros, 5 euros and 5 dollars"),
        ("$5–$10 or $5-10", "5 dollars to 10 dollars or 5 dollars to 10"),
        ("5% and 2.5 %", "5 percent and 2.5 percent"),
        ("10-20 km, 9:00–17:00, 2024-2025", "10 to 20 kilometers, 9:00 to 17:00, 2024 to 2025"),
        ("-5°C, 1 °F, 90°", "minus 5 degrees Celsius, 1 degree Fahrenheit, 90 degrees"),
        ("5 × 3 = 15, 2 + 2", "5 times 3 equals 15, 2 plus 2"),
        ("~5 kg, 1 km, 30 min, 24 h", "about 5 kilograms, 1 kilometer, 30 minutes, 24 hours"),
        ("at 10:00 am, 10:30 pm", "at 10 am, 10:30 pm"),
        ("on 2026-11-21", "on November 21, 2026"),
        ("#1 of § 5, you & me, AT&T", "number 1 of section 5, you and me, AT&T"),
        ("fruit, e.g. apples, i.e. food", "fruit, for example apples, that is food"),
    ],
)
def test_signs_have_words(written: str, spoken: str) -> None:
    assert said(written) == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Das kostet 5,50 € oder 1 €.", "Das kostet 5 Euro 50 oder 1 Euro."),
        ("3 Mio. € und 5€", "3 Millionen Euro und 5 Euro"),
        ("Um 10:30 Uhr oder 9:00", "Um 10 Uhr 30 oder 9 Uhr"),
        ("am 21.11.2026, 5–10 km", "am 21. November 2026, 5 bis 10 Kilometer"),
        ("z. B. 20 % von info@example.de", "zum Beispiel 20 Prozent von info ät example Punkt de"),
        ("-3 °C & Schnee", "minus 3 Grad Celsius und Schnee"),
    ],
)
def test_german_has_its_own(written: str, spoken: str) -> None:
    assert said(written, "de") == said(written, "de-AT") == spoken


@pytest.mark.parametrize("language", ["en", "sv"])
def test_telephone_numbers_are_said_digit_by_digit_in_any_language(language: str) -> None:
    assert said("+49 (0) 170 1234567", language) == "plus 4 9, 1 7 0, 1 2 3 4 5 6 7"
    assert said("(555) 123-4567 or 555-1234.", language) == "5 5 5, 1 2 3, 4 5 6 7 or 5 5 5, 1 2 3 4."
    assert said("030/1234567", language) == "0 3 0, 1 2 3 4 5 6 7"
    assert said("order 123456789, pin 00712", language) == "order 1 2 3, 4 5 6, 7 8 9, pin 0 0 7, 1 2"


@pytest.mark.parametrize(
    "text",
    [
        "1,000.50 people",
        "3.5 million",
        "version 1.2.3",
        "192.168.0.1",
        "the 3rd of May",
        "covid-19",
        "24/7",
        "1/2",
        "C++",
    ],
)
def test_what_voices_know_is_left_to_them(text: str) -> None:
    assert said(text) == text


def test_without_a_language_nothing_is_said_in_words() -> None:
    text = "5 € 20 % a@b.se 10-20 10:30 -5°C 2026-11-21"
    assert said(text, "sv") == text
    assert said("https://www.example.se/x", "sv") == "example.se"


def test_the_language_is_guessed_from_the_words_so_far() -> None:
    reader = Reader()
    assert reader.read("5 % ").spoken == "5 % "
    assert reader.read("That is the price, 5 %. ").spoken == "That is the price, 5 percent. "
    assert reader.read("5 % ").spoken == "5 percent "
    assert Reader().read("Das sind etwa 5 %, und nicht mehr.").spoken == "Das sind etwa 5 Prozent, und nicht mehr."


# --- where it stands in what is written


def test_a_place_in_what_is_said_is_one_in_what_is_written() -> None:
    reading = Reader("en").read("**It** is $5 now 🙂")
    assert reading.spoken == "It is 5 dollars now"
    places = {word: reading.written_at(reading.spoken.index(word) + len(word)) for word in reading.spoken.split()}
    heard = {word: reading.written[:place] for word, place in places.items()}
    assert heard == {
        "It": "**It",
        "is": "**It** is",
        "5": "**It** is ",
        "dollars": "**It** is $5",
        "now": "**It** is $5 now 🙂",
    }


ANYTHING = st.text(max_size=200) | st.text(st.sampled_from("aB 05.,:-–+/*_#|[](){}<>`~@&$€%°=\n\"'!?wé€"), max_size=120)
LANGUAGES = st.sampled_from(["en", "de", "sv", None])
MARKUP = "`~<&[]()!|【\\"
"""In markup there may be letters that are not read out: an address behind a link, the name of a tag."""


@given(ANYTHING, LANGUAGES)
def test_any_text_can_be_read(text: str, language: str | None) -> None:
    reading = Reader(language).read(text)
    assert reading.written == text
    places = [reading.written_at(at) for at in range(len(reading.spoken) + 1)]
    assert all(0 <= place <= len(text) for place in places)
    assert all(before <= after for before, after in itertools.pairwise(places)), "it never goes back"
    assert places[-1] == len(text), "and covers all"


@given(ANYTHING, LANGUAGES)
def test_what_has_letters_is_said(text: str, language: str | None) -> None:
    plain = text.translate(str.maketrans("", "", MARKUP))
    if any(character.isalnum() for character in plain):
        assert any(character.isalnum() for character in Reader(language).read(plain).spoken)


@given(st.lists(st.sampled_from(string.ascii_letters), min_size=1, max_size=40).map("".join), LANGUAGES)
def test_words_are_left_alone(word: str, language: str | None) -> None:
    text = f"{word}, {word} {word}s!"
    assert Reader(language).read(text) == Reading(text, text)


TOKENS = st.sampled_from(
    """**bold** *it* $5.50 5% 10-20 € # 5€ a@b.co https://x.org/y/z 10:30 -5°C 2026-11-21 +1 555-123-4567 555-1234 ~5
    km (word) "word" word. word, 3.5 million | - 🙂 [a](b) 1. #1 e.g. & AT&T snake_case `x` _y_ 123456789 am""".split()
)


@given(st.lists(TOKENS, max_size=8).map(" and ".join), LANGUAGES)
def test_reading_again_changes_nothing(text: str, language: str | None) -> None:
    once = Reader(language or "en").read(text).spoken
    assert Reader(language or "en").read(once).spoken == once
