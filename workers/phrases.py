"""What can be said to the demo dialogue: the default grammar of a recogniser that needs one."""

from __future__ import annotations

NAMES = (
    "alice andrew anna anthony barbara betty charles clara david edward elizabeth emily emma frank fred george grace "
    "helen henry jack james jessica john julia kate kevin laura lisa lucy maria mark martin michael nancy oliver "
    "patricia paul peter rachel richard robert rose ruth sarah simon sophia susan thomas tom victor walter william"
).split()
"""First names that sound unlike each other: what the grammar knows. The dialogue itself takes any."""

NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()

PHRASES = (
    "hello [there]",
    "hi [there]",
    "good (morning | afternoon | evening)",
    f"my name is ({' | '.join(NAMES)})",
    f"call me ({' | '.join(NAMES)})",
    "(what is | what's) my name",
    "do you (know | remember) my name",
    "what time is it [now]",
    "(what is | what's | tell me) the time",
    "what day is it [today]",
    "(what is | what's | tell me) the date [today]",
    "what can you do",
    "[can you] help me",
    "(who | what) are you",
    "are you a (robot | machine | person | human)",
    "what is trunk line",
    "tell me about trunk line",
    f"[can you] count to ({' | '.join(NUMBERS[2:])})",
    "tell me (a | another) story",
    "how many (questions | things) (did i ask | have i asked)",
    "how are you [today]",
    "what did i say",
    "[can you] repeat that",
    "say that again",
    "thank you [very much]",
    "thanks",
    "goodbye",
    "good bye",
    "bye bye",
    "see you later",
)
"""What can be said to it, in the notation of JSGF: `[optional]`, `(this | that)`."""
