"""TwiML as Twilio would execute it, read strictly: what a gateway must not answer is an error that says what is wrong.

The rules are those of PROTOCOLS 6.1. Verbs that Trunkline never answers are unknown here, though Twilio has more.
"""

from __future__ import annotations

import ipaddress
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_PARAMETER = 499
"""Characters of a Parameter's name and value together."""

_ATTRIBUTES = {
    "Connect": {"action", "method"},
    "Stream": {"url", "name", "track", "statusCallback", "statusCallbackMethod"},
    "Parameter": {"name", "value"},
    "Redirect": {"method"},
    "Hangup": set[str](),
    "Reject": {"reason"},
    "Say": {"voice", "language", "loop"},
    "Dial": {"action", "method", "timeout", "callerId", "timeLimit", "answerOnBridge", "hangupOnStar", "ringTone"},
    "Number": {"statusCallback", "statusCallbackMethod", "statusCallbackEvent", "sendDigits", "url", "method"},
    "Pause": {"length"},
}
_HOLDS_TEXT = {"Redirect", "Say", "Dial", "Number"}
_PARENTS = {"Stream": "Connect", "Parameter": "Stream", "Number": "Dial"}


class TwimlError(ValueError):
    """A document that Twilio would refuse (12100 and its kin), or would not do with what was meant."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A two-way media stream; `parameters` arrive in `start.customParameters`."""

    url: str
    name: str | None
    parameters: dict[str, str]
    status_callback: str | None
    status_callback_method: str


@dataclass(frozen=True, slots=True)
class Connect:
    """Blocks until the stream's socket has ended, then asks `action`, or goes on to the next verb."""

    stream: Stream
    action: str | None
    method: str


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Dial:
    """A transfer: rings these numbers at once."""

    numbers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    length_s: float


Verb = Connect | Redirect | Hangup | Reject | Say | Dial | Pause


def parse(text: str) -> tuple[Verb, ...]:
    """The verbs of a document, in order; TwimlError for whatever Twilio does not know."""
    if "<!DOCTYPE" in text:
        raise TwimlError("a document type declaration has no place in TwiML")
    try:
        root = ET.fromstring(text)  # noqa: S314 - entities need the declaration refused above
    except ET.ParseError as error:
        raise TwimlError(f"not XML: {error}") from error
    if root.tag != "Response" or root.attrib:
        raise TwimlError(f"the root is <{root.tag}> with {sorted(root.attrib)}, not a bare <Response>")
    _check_text(root)
    return tuple(_verb(element) for element in root)


def check_content_type(content_type: str) -> None:
    """TwimlError unless an answer of this Content-Type would be read as TwiML at all."""
    if content_type.partition(";")[0].strip().lower() not in ("text/xml", "application/xml"):
        raise TwimlError(f"the Content-Type {content_type!r} is not text/xml")


def is_loopback(host: str | None) -> bool:
    """Whether `host` names this machine, where a stand-in may connect without TLS."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _verb(element: ET.Element) -> Verb:
    _check(element, "Response")
    match element.tag:
        case "Connect":
            return _connect(element)
        case "Redirect":
            return Redirect(_needed_text(element), _method(element))
        case "Hangup":
            return Hangup()
        case "Reject":
            return Reject(_one_of(element, "reason", ("rejected", "busy")))
        case "Say":
            return Say(_needed_text(element))
        case "Dial":
            return _dial(element)
        case _:
            return Pause(_seconds(element))


def _connect(element: ET.Element) -> Connect:
    streams = list(element)
    if len(streams) != 1:
        raise TwimlError(f"a call has one two-way stream, and <Connect> holds {len(streams)} nouns")
    return Connect(_stream(streams[0]), element.get("action"), _method(element))


def _stream(element: ET.Element) -> Stream:
    _check(element, "Connect")
    track = element.get("track", "inbound_track")
    if track != "inbound_track":
        raise TwimlError(f"31941: <Connect><Stream> has only the inbound_track, not {track!r}")
    callback = element.get("statusCallback")
    if callback is not None and urlsplit(callback).scheme not in ("http", "https"):
        raise TwimlError(f"statusCallback {callback!r} is not an absolute http(s) URL")
    parameters: dict[str, str] = {}
    for child in element:
        name, value = _parameter(child)
        if name in parameters:
            raise TwimlError(f"the Parameter {name!r} is given twice")
        parameters[name] = value
    method = _one_of(element, "statusCallbackMethod", ("POST", "GET"))
    return Stream(_stream_url(element), element.get("name"), parameters, callback, method)


def _stream_url(element: ET.Element) -> str:
    url = element.get("url", "")
    parts = urlsplit(url)
    if parts.scheme not in ("wss", "ws") or not parts.hostname:
        raise TwimlError(f"the Stream url {url!r} is not an absolute wss URL")
    if parts.scheme == "ws" and not is_loopback(parts.hostname):
        raise TwimlError(f"the Stream url {url!r} is not wss; plain ws only reaches this machine")
    if "?" in url or "#" in url:
        raise TwimlError(f"the Stream url {url!r} has a query or fragment, which Twilio does not pass on")
    return url


def _parameter(element: ET.Element) -> tuple[str, str]:
    _check(element, "Stream")
    name, value = element.get("name"), element.get("value")
    if not name or value is None:
        raise TwimlError("a Parameter needs a name and a value")
    if len(name) + len(value) > MAX_PARAMETER:
        raise TwimlError(f"the Parameter {name!r} has {len(name) + len(value)} characters of {MAX_PARAMETER}")
    return name, value


def _dial(element: ET.Element) -> Dial:
    for child in element:
        _check(child, "Dial")
    own = (element.text or "").strip()
    numbers = [_needed_text(child) for child in element]
    if bool(own) == bool(numbers):
        raise TwimlError("<Dial> needs a number, as its text or in <Number>, not both")
    return Dial((own,) if own else tuple(numbers))


def _check(element: ET.Element, parent: str) -> None:
    allowed = _ATTRIBUTES.get(element.tag)
    if allowed is None or _PARENTS.get(element.tag, "Response") != parent:
        raise TwimlError(f"<{element.tag}> is not known in <{parent}>")
    if unknown := set(element.attrib) - allowed:
        raise TwimlError(f"<{element.tag}> has no attribute {', '.join(sorted(unknown))}")
    if len(element) and element.tag not in _PARENTS.values():
        raise TwimlError(f"<{element.tag}> holds no other elements")
    _check_text(element)


def _check_text(element: ET.Element) -> None:
    """Nothing but white space where no text belongs: a forgotten tag's content would silently not be done."""
    stray = [child.tail for child in element]
    if element.tag not in _HOLDS_TEXT:
        stray.append(element.text)
    for text in stray:
        if text and text.strip():
            raise TwimlError(f"the text {text.strip()!r} has no place in <{element.tag}>")


def _needed_text(element: ET.Element) -> str:
    text = (element.text or "").strip()
    if not text:
        raise TwimlError(f"<{element.tag}> is empty")
    return text


def _method(element: ET.Element) -> str:
    return _one_of(element, "method", ("POST", "GET"))


def _one_of(element: ET.Element, attribute: str, allowed: tuple[str, ...]) -> str:
    """The attribute's value, the first of `allowed` when it is absent."""
    value = element.get(attribute, allowed[0])
    if value not in allowed:
        raise TwimlError(f"{attribute}={value!r} of <{element.tag}> is none of {', '.join(allowed)}")
    return value


def _seconds(element: ET.Element) -> float:
    length = element.get("length", "1")
    if not length.isdecimal():
        raise TwimlError(f"length={length!r} of <{element.tag}> is not a whole number of seconds")
    return float(length)
