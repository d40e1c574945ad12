"""What we answer Twilio with: TwiML, https://www.twilio.com/docs/voice/twiml. Each is a whole document."""

from __future__ import annotations

from twilio.twiml.voice_response import Connect, VoiceResponse

APOLOGY = "We are sorry. Your call cannot be answered at the moment. Please call again later."


def connect(origin: str, token: str, pause_s: int = 0) -> str:
    """Open a media stream to us. When that ends, however it does, Twilio asks `/twiml/return` what comes next."""
    response = VoiceResponse()
    if pause_s:
        response.pause(length=pause_s)
    verb = Connect(action=f"{origin}/twiml/return", method="POST")
    # http becomes ws, and https wss. Twilio passes no query on: what the stream must know is a parameter.
    url = f"ws{origin.removeprefix('http')}/websocket"
    stream = verb.stream(url=url, status_callback=f"{origin}/twiml/status", status_callback_method="POST")
    stream.parameter(name="token", value=token)
    response.append(verb)
    return str(response)


def dial(number: str) -> str:
    """Put the call through. When that conversation is over, so is the call."""
    response = VoiceResponse()
    response.dial(number)
    return str(response)


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)


def reject() -> str:
    """Do not take the call: it costs nothing, and the caller hears that the number is not in service."""
    response = VoiceResponse()
    response.reject(reason="rejected")
    return str(response)


def nothing() -> str:
    """For a call that is over."""
    return str(VoiceResponse())


def ask_again(url: str, pause_s: int) -> str:
    """We cannot say now. A caller who was not answered yet hears it ring on; another, silence."""
    response = VoiceResponse()
    response.pause(length=pause_s)
    response.redirect(url, method="POST")
    return str(response)


def apologise() -> str:
    response = VoiceResponse()
    response.say(APOLOGY)
    response.hangup()
    return str(response)
