"""A model that tells a story, and what must have been heard of it by who lost a process or a line in the middle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .script import Prompt, Reply, Say, echo, text_of

STORY = "once upon a time there was a king who had three ships and then the sea the sun the star"


def storyteller(prompt: Prompt) -> Reply:
    """Tells the story (or twice in a row), goes on with it where it was cut off, and repeats everything else."""
    if "cut your answer off" in prompt.instructions:
        told = [text_of(item).split() for item in prompt.items if item.get("role") == "assistant"][-1:]
        if told and told[0][:2] == STORY.split()[:2]:  # also where it is given the next words, to go on after them
            return Say(" ".join(STORY.split()[len(told[0]) :]) or "sorry")
    if '"' in (prompt.response.get("instructions") or ""):
        return echo(prompt)
    asked = asked_of(prompt)
    if "story" in asked:
        return Say(f"{STORY} {STORY}" if "twice" in asked else STORY)
    return echo(prompt)


def asked_of(prompt: Prompt) -> str:
    """What the user said last; empty where the model is to answer something else."""
    return text_of(prompt.last) if prompt.last is not None and "content" in prompt.last else ""


def assert_told(heard: Sequence[str], expected: Sequence[str], *, cut_words: int, repeated_words: int) -> None:
    """Every word in order. So many may be missing: where the line itself was cut, a word comes in two halves; and so
    many may come twice: at a seam a word that was cut is said again."""
    missing, again = Counter(expected) - Counter(heard), Counter(heard) - Counter(expected)
    assert missing.total() <= cut_words, (missing, heard)
    assert again.total() <= repeated_words, (again, heard)
    assert list(dict.fromkeys(heard)) == [word for word in dict.fromkeys(expected) if word in heard], heard
