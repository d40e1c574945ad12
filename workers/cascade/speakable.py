"""What is written, as a voice is to be given it: without markup, emoji and addresses that nobody would read out, and
with words for the signs that voices read wrongly or not at all.

Numbers stay in digits: voices know them, in more languages than we do. In a language without a `Diction`, only what
needs no words is done. Every change keeps its place in the written text, for what was heard is told in that.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

from workers.cascade.diction import DICTIONS, Diction
from workers.turns.phrasing import tells

_NUMBER = r"\d+(?:[.,]\d+)*"
_SPACE = "[ \u00a0\u202f]"
_URL_CHARACTER = r"[^\s<>\"“”„`|]"
_URL_END = r"[^\s<>\"“”„`|.,;:!?)\]}'’*_~…]"
_MONEY = "[$€£¥]|EUR|USD|GBP|CHF"
_SCALE = r"k|K|m|M|mn|bn|b|B|[Mm]io|[Mm]rd|[Tt]sd|[Mm]illion(?:en)?|[Bb]illion|[Tt]housand|[Tt]rillion|[Mm]illiarden?"
_CODES = {"EUR": "€", "USD": "$", "GBP": "£"}
_TAG = r"b|i|u|s|em|strong|br|p|a|ul|ol|li|div|span|code|pre|h[1-6]|sub|sup|hr|table|t[rdh]|tbody|thead|img"
_EMOJI = "\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\U0001f000-\U0001faff"

_WORD = re.compile(r"[^\W\d_]+")

LONGEST_PATH = 30
"""Characters of an address's path that are read out; of a longer one only the site is said."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as it is written, and as a voice is given it."""

    written: str
    spoken: str
    edits: tuple[tuple[int, int, int, int], ...] = ()
    """What differs: from and to (characters) in `written`, and in `spoken`."""

    def written_at(self, spoken_at: int) -> int:
        """How many characters of `written` are said with the first `spoken_at` of `spoken`. What was replaced is said
        when all of its replacement is."""
        if spoken_at >= len(self.spoken):
            return len(self.written)
        written, spoken = 0, 0
        for written_from, written_to, spoken_from, spoken_to in self.edits:
            if spoken_at <= spoken_from:
                break
            if spoken_at < spoken_to:
                return written_from
            written, spoken = written_to, spoken_to
        return written + spoken_at - spoken


class Reader:
    """Reads one text, part after part. `language` may have a region (`de-AT`); none: it is guessed from the words so
    far, and while they do not tell, nothing is said in words of its own."""

    def __init__(self, language: str | None = None) -> None:
        self._language = None if language is None else language.split("-")[0].lower()
        self._english = self._german = 0

    def read(self, text: str) -> Reading:
        english, german = tells(_WORD.findall(text.lower()))
        self._english += english
        self._german += german
        guess = "en" if self._english > self._german else "de" if self._german > self._english else ""
        return _read(text, DICTIONS.get(guess if self._language is None else self._language))


def _read(text: str, diction: Diction | None) -> Reading:
    edits, spoken, done = [], "", 0
    for match in _ANY.finditer(text):
        rule = _RULES[match.lastgroup or ""]
        exact = rule.pattern.match(text, match.start())
        said = None if exact is None else rule.say(exact, diction)
        if said is None:
            continue
        spoken += text[done : match.start()]
        edits.append((match.start(), match.end(), len(spoken), len(spoken) + len(said)))
        spoken, done = spoken + said, match.end()
    spoken += text[done:]
    return Reading(text, spoken, tuple(edits))


# --- how signs are said. None: as they are


Say = Callable[[re.Match[str], Diction | None], str | None]


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    say: Say


def _nothing(match: re.Match[str], diction: Diction | None) -> str:
    return ""


def _word(name: str, form: str = "{}") -> Say:
    """Say the language's word for it."""

    def say(match: re.Match[str], diction: Diction | None) -> str | None:
        return None if diction is None else form.format(getattr(diction, name))

    return say


def _pipe(match: re.Match[str], diction: Diction | None) -> str:
    before, after = match.string[: match.start()], match.string[match.end() :]
    inside = before[-1:] not in ("", "\n") and after[:1] not in ("", "\n")
    return ", " if inside else ""


def _entity(match: re.Match[str], diction: Diction | None) -> str | None:
    said = html.unescape(match[0])
    return None if said == match[0] else said if diction is None else said.replace("&", diction.and_)


def _address(text: str, diction: Diction) -> str:
    signs = {".": diction.dot, "/": diction.slash, "-": diction.dash, "_": diction.underscore, "+": diction.plus}
    return "".join(f" {signs[sign]} " if sign in signs else sign for sign in text)


def _email(match: re.Match[str], diction: Diction | None) -> str | None:
    name, _, domain = match[0].removeprefix("mailto:").partition("@")
    if diction is None:
        return None
    return f"{_address(name, diction)} {diction.at} {_address(domain, diction)}".strip()


def _url(match: re.Match[str], diction: Diction | None) -> str:
    """The site, and a path that can be remembered."""
    address = re.sub(r"^https?://", "", match[0], flags=re.IGNORECASE)
    site, _, path = re.sub(r"^www\.", "", address, flags=re.IGNORECASE).partition("/")
    site = re.split(r"[?#]", site)[0]
    path = re.split(r"[?#]", path)[0].strip("/")
    if len(path) > LONGEST_PATH or "%" in path or sum(character.isdigit() for character in path) > 6:
        path = ""
    whole = f"{site}/{path}" if path else site
    return site if diction is None else _address(whole, diction).strip()


def _digits(match: re.Match[str], diction: Diction | None) -> str | None:
    """One by one, in the groups that they are written in, or in threes."""
    groups = re.findall(r"\d+", match[0].replace("(0)", " ") if match[0].startswith("+") else match[0])
    if sum(map(len, groups)) > 20:
        return None
    if len(groups) == 1:
        groups = re.findall(r"\d{1,3}", groups[0])
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(" ".join(group) for group in groups)


def _date(match: re.Match[str], diction: Diction | None) -> str | None:
    parts = {name: int(text) for name, text in match.groupdict().items()}
    if diction is None or not (1 <= parts["month"] <= 12 and 1 <= parts["day"] <= 31):
        return None
    return diction.date.format(day=parts["day"], month=diction.months[parts["month"] - 1], year=parts["year"])


def _time(match: re.Match[str], diction: Diction | None) -> str | None:
    if diction is None:
        return None
    hour, minute = int(match["hour"]), int(match["minute"])
    if match["half"]:  # 10:00 am
        return f"{hour} {match['half']}" if minute == 0 else None
    form = diction.time if minute else diction.full_hour
    return form.format(hour=hour, minute=minute) if form else None


def _money(match: re.Match[str], diction: Diction | None) -> str | None:
    sign, amount, scale = match["money"], match["amount"], match["scale"]
    currency = None if diction is None else diction.currencies.get(_CODES.get(sign, sign))
    if diction is None or currency is None:
        return None
    if scale:
        return f"{amount} {diction.scales.get(scale.lower(), scale)} {currency.many}"
    split = re.fullmatch(r"(.*?)(?:[.,](\d\d))?", amount)
    assert split is not None
    whole, parts = split[1], int(split[2] or 0)
    if split[2] and (not currency.parts or not whole):
        return None
    said = f"{whole} {currency.one if whole == '1' else currency.many}"
    if not parts:
        return said
    part = f"{parts} {currency.part if parts == 1 else currency.parts}"
    return part if whole == "0" else diction.amount_with_parts.format(whole=said, part=part, bare=parts)


def _degrees(match: re.Match[str], diction: Diction | None) -> str | None:
    if diction is None:
        return None
    minus = f"{diction.minus} " if match["minus"] else ""
    scale = {"C": " Celsius", "F": " Fahrenheit"}.get(match["scale"] or "", "")
    return f"{minus}{match['amount']} {diction.degrees[match['amount'] != '1']}{scale}"


def _unit(match: re.Match[str], diction: Diction | None) -> str | None:
    unit = None if diction is None else diction.units.get(match["unit"])
    return None if unit is None else f"{match['amount']} {unit[match['amount'] != '1']}"


def _range(match: re.Match[str], diction: Diction | None) -> str | None:
    return None if diction is None else f"{match['first']} {diction.to} "


def _short_form(match: re.Match[str], diction: Diction | None) -> str | None:
    return None if diction is None else diction.short_forms.get(re.sub(r"\s", "", match[0].lower()))


_PATTERNS: tuple[tuple[str, Say, str], ...] = (
    # Lines that are nothing but markup, and what begins a line.
    ("fence", _nothing, r"^[ \t]*(?:```|~~~)[^\n`]*$"),
    ("ruler", _nothing, r"^[ \t]*(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|[|:][|: \t-]*--[|: \t-]*)$"),
    ("line", _nothing, r"^[ \t]*(?:#{1,6}[ \t]+|>+[ \t]?|[-*+•·▪‣][ \t]+(?:\[[ xX]\][ \t])?|\*{2,3}[ \t]+)+"),
    # Addresses.
    ("email", _email, r"(?:mailto:)?(?<![\w.+@-])[\w+-]+(?:\.[\w+-]+)*@[\w-]+(?:\.[\w-]+)+"),
    ("link", _nothing, r"!?\[(?=[^\[\]\n]*\]\()|\]\((?:[^()\s]|\([^()\s]*\))*(?:[ \t]+\"[^\"\n]*\")?\)"),
    ("url", _url, rf"(?i:https?://|www\.(?=\w)){_URL_CHARACTER}*{_URL_END}/?"),
    ("path", _url, rf"(?<![\w@/.])(?:[a-z0-9-]+\.)+[a-z]{{2,10}}/{_URL_CHARACTER}*{_URL_END}/?"),
    # Other markup.
    ("reference", _nothing, r"(?<=[\w.,!?])[ ]?(?:\[\d{1,3}\]|【[^】\n]{1,40}】)"),
    ("tag", _nothing, rf"(?i:</?(?:{_TAG})(?:\s[^<>\n]{{0,200}})?/?>)"),
    ("entity", _entity, r"[ ]?&(?:[a-z]{2,6}|#\d{2,6});[ ]?"),
    ("escape", lambda match, diction: match[0][1:], r"\\[*_#$\[\]()~`|!+.-]"),
    ("ticks", _nothing, r"`+|~~"),
    ("opening", _nothing, r"(?<![\w*_])(?:\*{1,3}|_{1,3})(?=[^\s*_])"),
    ("closing", _nothing, r"(?<=[^\s*_])(?:\*{1,3}|_{1,3})(?![\w*_])"),
    ("pipe", _pipe, r"[ \t]*\|[ \t]*"),
    # Numbers that are names.
    ("abroad", _digits, r"(?<![\w+])\+\d[\d ()/.\u2011-]{5,}\d(?!\w)"),
    ("phone", _digits, r"(?<![\w.,-])(?:1[-. ])?(?:\(\d{3}\)[ ]?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-])"),
    ("local", _digits, r"(?<![\w.,:/+-])(?:\d{3}-\d{4}|0\d{1,4}[ /-]\d{3,}(?:[ -]\d{2,})*)(?![\w-])"),
    ("code", _digits, r"(?<![\w.,:/+$€£¥-])(?:0\d{4,}|\d{9,})(?![\w%°€£]|[.,:/-]\d)"),
    # Amounts and times.
    ("iso", _date, r"(?<![\w-])(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?![\w-])"),
    ("dotted", _date, r"(?<![\w.])(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})(?!\w|\.\d)"),
    (
        "time",
        _time,
        rf"(?<![\d:.,])(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?![\d:])(?:{_SPACE}?Uhr\b|{_SPACE}?(?P<half>[ap]\.?m\b))?",
    ),
    (
        "price",
        _money,
        rf"(?<![\w$])(?P<money>{_MONEY}){_SPACE}?(?P<amount>{_NUMBER})(?:{_SPACE}?(?P<scale>{_SCALE})\b)?(?!\w)",
    ),
    (
        "cost",
        _money,
        rf"(?<![\w.,])(?P<amount>{_NUMBER})(?:{_SPACE}?(?P<scale>{_SCALE})\b\.?)?{_SPACE}?(?P<money>{_MONEY})(?![\w\d])",
    ),
    (
        "degrees",
        _degrees,
        rf"(?<![\w.,])(?P<minus>[-\u2212])?(?P<amount>{_NUMBER}){_SPACE}?°{_SPACE}?(?P<scale>[CF])?(?!\w)",
    ),
    (
        "unit",
        _unit,
        rf"(?<![\w.,])(?P<amount>{_NUMBER}){_SPACE}?(?P<unit>km/h|km²|m²|m³|[a-zA-Z]{{1,3}})(?![\w/²³])",
    ),
    ("percent", _word("percent", " {}"), rf"(?<=\d){_SPACE}?%"),
    (
        "span",
        _word("to", " {} "),
        rf"(?<=[\d%€£°]){_SPACE}?[–—]{_SPACE}?(?=[$€£]?\d)|(?<=\d)-(?=[$€£]\d)|(?<=[$€£]\d)-(?=\d)",
    ),
    ("times_of_day", _word("to", " {} "), r"(?<=\d:\d\d)-(?=\d\d?:\d\d)"),
    ("range", _range, r"(?<![\w.,:/+-])(?P<first>[$€£]?\d{1,4})-(?=\d{1,4}(?![\w-]))"),
    ("minus", _word("minus", "{} "), "(?<![\\w)\\]])\u2212(?=\\d)"),
    ("times", _word("times", " {} "), rf"(?<=\d){_SPACE}?[×*]{_SPACE}?(?=\d)"),
    ("plus", _word("plus", " {} "), rf"(?<=\d){_SPACE}\+{_SPACE}(?=\d)"),
    ("equals", _word("equals", " {} "), rf"(?<=[\w)]){_SPACE}={_SPACE}(?=[\w(-])"),
    ("about", _word("about", "{} "), rf"(?<!\S)[~≈]{_SPACE}?(?=[$€£]?\d)"),
    # Other signs.
    ("number", _word("number", "{} "), r"(?<!\w)#(?=\d)"),
    ("section", _word("section", "{} "), rf"§§?{_SPACE}?(?=\d)"),
    ("and", _word("and_"), r"(?<=\s)&(?=\s)"),
    (
        "short",
        _short_form,
        rf"(?<![\w.])(?:[eEiI]\.{_SPACE}?[ge]\.|[zZ]\.{_SPACE}?B\.|[dDuU]\.{_SPACE}?[hHaA]\.|[a-zA-Z]{{2,6}}\.)(?=\s)",
    ),
    ("arrow", lambda match, diction: ", ", r"[ ]?(?:[→⇒➔➜]|->|=>)[ ]?(?=\S)"),
    ("emoticon", _nothing, r"[ ]?(?<!\S)[:;]'?-?[)(DP](?!\S)"),
    ("emoji", _nothing, f"[ ]?[{_EMOJI}\u200d\u20e3\ufe0e\ufe0f]+"),
    ("unseen", _nothing, "[\x00-\x08\x0b\x0c\x0e-\x1f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]+"),
)

_RULES = {name: _Rule(re.compile(pattern, re.MULTILINE), say) for name, say, pattern in _PATTERNS}


def _apart(pattern: str) -> str:
    """Without the names of its groups: they are in several patterns."""
    return re.sub(r"\(\?P<\w+>", "(?:", pattern)


_ANY = re.compile("|".join(f"(?P<{name}>{_apart(pattern)})" for name, _, pattern in _PATTERNS), re.MULTILINE)
