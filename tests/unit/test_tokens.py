from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline import tokens

SECRET = "a secret that all gateways share"
SESSION = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("link", [0, 1, 7, 999_999_999])
def test_a_token_names_its_session_and_link(link: int) -> None:
    assert tokens.check(SECRET, tokens.issue(SECRET, SESSION, link)) == (SESSION, link)


def test_tokens_of_two_links_differ() -> None:
    assert tokens.issue(SECRET, SESSION, 0) != tokens.issue(SECRET, SESSION, 1)


def test_a_token_of_another_deployment_is_none_of_ours() -> None:
    assert tokens.check("the secret of another deployment", tokens.issue(SECRET, SESSION, 0)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        SESSION,
        f"{SESSION}.0",
        f"{SESSION}.0.",
        f"{SESSION}.-1.abc",
        f"{SESSION}.1_0.abc",
        f"{SESSION}.\u0663.abc",
        f"{SESSION}.9999999999.abc",
        f"{SESSION}.0.caf\u00e9",
        "." + tokens.issue(SECRET, "", 0),
        tokens.issue(SECRET, "", 0),
        tokens.issue(SECRET, SESSION, 0) + "0",
        tokens.issue(SECRET, SESSION, 0)[:-1],
        tokens.issue(SECRET, SESSION, 0).upper(),
        tokens.issue(SECRET, SESSION, 0).replace(".0.", ".1."),
        "x" + tokens.issue(SECRET, SESSION, 0),
    ],
)
def test_any_other_text_is_none_of_ours(text: str) -> None:
    assert tokens.check(SECRET, text) is None


@given(st.text())
def test_no_text_breaks_the_check(text: str) -> None:
    assert tokens.check(SECRET, text) is None


@given(st.integers(0, 100), st.characters(codec="ascii"))
def test_a_changed_character_breaks_the_token(place: int, character: str) -> None:
    token = tokens.issue(SECRET, SESSION, 12)
    place %= len(token)
    changed = token[:place] + character + token[place + 1 :]
    assert (tokens.check(SECRET, changed) is None) == (changed != token)
