"""What the model says while parts of its calls die: the script of the Realtime stand-in's process.

Every word of the story is there once, so what was heard tells what was lost and what came twice.
"""

from __future__ import annotations

import re

from tests.standins.realtime import Prompt, Reply, Say, echo, text_of

STORY = tuple(
    """
    queen star book winter here later friday moment rain when light ships press free order listen hold monday tea
    park error summer find long answer thirty blue ready slot twelve where done king sorry open then day wait five
    speak tired sunday call over eleven from red seven thanks minute good until zero stop dental sun twenty upon was
    talk sea
    """.split()
)
"""12.6 s. Its words are of about one length: so are those of real speech, a word's time for its letters."""
SHORT = STORY[:24]

ASK_STORY, ASK_SHORT = "tell me a story", "tell me a story please"
NAME, NAME_ECHOED = "my name is ada", "you said my name is ada"
ASK_NAME, NAME_KNOWN = "what is my name", "your name is ada"
QUESTION = "can you have one appointment booked for me at nine"

_QUOTED = re.compile(r'"([^"]+)"')
_GO_ON = "cut your answer off"


def answer(prompt: Prompt) -> Reply:
    """Tells the story, goes on with it where it was cut off, knows the caller's name, and repeats all else."""
    told = _told(prompt)
    if told is not None:
        return told
    asked = text_of(prompt.last) if prompt.last is not None else ""
    if asked == ASK_STORY:
        return Say(" ".join(STORY))
    if asked == ASK_SHORT:
        return Say(" ".join(SHORT))
    if asked == ASK_NAME:
        known = any(text_of(item) == NAME for item in prompt.items if item.get("role") == "user")
        return Say(NAME_KNOWN if known else "sorry")
    return echo(prompt)


def _told(prompt: Prompt) -> Reply | None:
    """What it says when it is told to go on; None when it is not."""
    instructions = prompt.response.get("instructions") or ""
    if _GO_ON not in instructions:
        return None
    quoted = _QUOTED.search(instructions)
    if quoted is None:
        said = [text_of(item) for item in prompt.items if item.get("role") == "assistant"]
        return Say(" ".join(_after(said[-1] if said else "")) or "sorry")
    if "go on with your answer" in instructions:
        return Say(" ".join((quoted[1], *_after(quoted[1]))))
    return Say(quoted[1])


def _after(said: str) -> tuple[str, ...]:
    """The story's words after what was said of it."""
    words = said.split()
    place = STORY.index(words[-1]) + 1 if words and words[-1] in STORY else 0
    return STORY[place:]
