"""The words that a language has for what is written in signs: for `speakable`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Currency:
    one: str
    many: str
    parts: str = ""
    """A hundredth, in the plural; empty where nobody counts in them."""
    part: str = ""


@dataclass(frozen=True, slots=True)
class Diction:
    """One language. Pairs are for one, and for any other number."""

    at: str
    dot: str
    slash: str
    dash: str
    underscore: str
    plus: str
    minus: str
    times: str
    equals: str
    about: str
    and_: str
    to: str
    number: str
    section: str
    percent: str
    degrees: tuple[str, str]
    scales: Mapping[str, str]
    """How amounts of money are shortened."""
    currencies: Mapping[str, Currency]
    amount_with_parts: str
    """`{whole}` (with its currency's name), and `{part}` (with or without)."""
    units: Mapping[str, tuple[str, str]]
    months: tuple[str, ...]
    date: str
    """Of `{day}`, `{month}`, `{year}`."""
    time: str
    """Of `{hour}` and `{minute}`; empty: as it is written."""
    full_hour: str
    short_forms: Mapping[str, str]
    """Abbreviations that voices spell out or stumble over, in lower case and without spaces."""


_ENGLISH_CURRENCIES = {
    "$": Currency("dollar", "dollars", "cents", "cent"),
    "€": Currency("euro", "euros", "cents", "cent"),
    "£": Currency("pound", "pounds", "pence", "penny"),
    "¥": Currency("yen", "yen"),
    "CHF": Currency("franc", "francs"),
}
_GERMAN_CURRENCIES = {
    "$": Currency("Dollar", "Dollar", "Cent", "Cent"),
    "€": Currency("Euro", "Euro", "Cent", "Cent"),
    "£": Currency("Pfund", "Pfund", "Pence", "Penny"),
    "¥": Currency("Yen", "Yen"),
    "CHF": Currency("Franken", "Franken", "Rappen", "Rappen"),
}

ENGLISH = Diction(
    at="at",
    dot="dot",
    slash="slash",
    dash="dash",
    underscore="underscore",
    plus="plus",
    minus="minus",
    times="times",
    equals="equals",
    about="about",
    and_="and",
    to="to",
    number="number",
    section="section",
    percent="percent",
    degrees=("degree", "degrees"),
    scales={"k": "thousand", "m": "million", "mio": "million", "mn": "million", "bn": "billion", "b": "billion"},
    currencies=_ENGLISH_CURRENCIES,
    amount_with_parts="{whole} and {part}",
    units={
        "km/h": ("kilometer an hour", "kilometers an hour"),
        "mph": ("mile an hour", "miles an hour"),
        "km": ("kilometer", "kilometers"),
        "cm": ("centimeter", "centimeters"),
        "mm": ("millimeter", "millimeters"),
        "km²": ("square kilometer", "square kilometers"),
        "m²": ("square meter", "square meters"),
        "m³": ("cubic meter", "cubic meters"),
        "kg": ("kilogram", "kilograms"),
        "mg": ("milligram", "milligrams"),
        "lb": ("pound", "pounds"),
        "lbs": ("pound", "pounds"),
        "oz": ("ounce", "ounces"),
        "ft": ("foot", "feet"),
        "ml": ("milliliter", "milliliters"),
        "kWh": ("kilowatt hour", "kilowatt hours"),
        "kW": ("kilowatt", "kilowatts"),
        "MB": ("megabyte", "megabytes"),
        "GB": ("gigabyte", "gigabytes"),
        "TB": ("terabyte", "terabytes"),
        "min": ("minute", "minutes"),
        "hrs": ("hour", "hours"),
        "h": ("hour", "hours"),
    },
    months=tuple(
        "January February March April May June July August September October November December".split(),
    ),
    date="{month} {day}, {year}",
    time="",
    full_hour="",
    short_forms={"e.g.": "for example", "i.e.": "that is", "approx.": "approximately", "vs.": "versus"},
)

GERMAN = Diction(
    at="ät",
    dot="Punkt",
    slash="Schrägstrich",
    dash="Bindestrich",
    underscore="Unterstrich",
    plus="plus",
    minus="minus",
    times="mal",
    equals="gleich",
    about="etwa",
    and_="und",
    to="bis",
    number="Nummer",
    section="Paragraf",
    percent="Prozent",
    degrees=("Grad", "Grad"),
    scales={"mio": "Millionen", "mrd": "Milliarden", "tsd": "Tausend"},
    currencies=_GERMAN_CURRENCIES,
    amount_with_parts="{whole} {bare}",
    units={
        "km/h": ("Kilometer pro Stunde", "Kilometer pro Stunde"),
        "km": ("Kilometer", "Kilometer"),
        "cm": ("Zentimeter", "Zentimeter"),
        "mm": ("Millimeter", "Millimeter"),
        "km²": ("Quadratkilometer", "Quadratkilometer"),
        "m²": ("Quadratmeter", "Quadratmeter"),
        "m³": ("Kubikmeter", "Kubikmeter"),
        "kg": ("Kilogramm", "Kilogramm"),
        "mg": ("Milligramm", "Milligramm"),
        "ml": ("Milliliter", "Milliliter"),
        "kWh": ("Kilowattstunde", "Kilowattstunden"),
        "kW": ("Kilowatt", "Kilowatt"),
        "MB": ("Megabyte", "Megabyte"),
        "GB": ("Gigabyte", "Gigabyte"),
        "TB": ("Terabyte", "Terabyte"),
        "min": ("Minute", "Minuten"),
        "Std": ("Stunde", "Stunden"),
        "h": ("Stunde", "Stunden"),
    },
    months=tuple(
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split(),
    ),
    date="{day}. {month} {year}",
    time="{hour} Uhr {minute}",
    full_hour="{hour} Uhr",
    short_forms={
        "z.b.": "zum Beispiel",
        "d.h.": "das heißt",
        "u.a.": "unter anderem",
        "bzw.": "beziehungsweise",
        "usw.": "und so weiter",
        "ca.": "circa",
        "ggf.": "gegebenenfalls",
        "evtl.": "eventuell",
        "inkl.": "inklusive",
        "nr.": "Nummer",
    },
)

DICTIONS: Mapping[str, Diction] = {"en": ENGLISH, "de": GERMAN}
"""By language, as in RFC 5646 without what follows its first hyphen."""
