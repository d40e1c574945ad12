"""What can be said to the demo dialogue: the default grammar of a recogniser that needs one."""

from __future__ import annotations

NAMES = (
    "adam alice amy andrew anna anthony barbara ben betty brian carol charles charlie chris clara daniel david diana "
    "donna edward elizabeth ellen emily emma eric eva frank fred george grace hannah harry helen henry ian jack jacob james jane "
    "jennifer jessica jim joe john julia karen kate kevin laura linda lisa lucy maria mark martin mary max michael michelle "
    "nancy nick nora olivia oscar patricia paul peter rachel richard robert rose ruth sam samuel sandra sarah simon sophia "
    "steven susan thomas tom victor victoria walter william"
).split()
"""First names the grammar knows; the dialogue itself takes any."""

NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty"
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
