"""A stand-in for Twilio: callers (`Call`) and the REST API that redirects them (`TwilioApi`), on loopback.

What it does is what PROTOCOLS section 6 records of Twilio; tests/contract/twilio/ holds it to the
official twilio package.
"""

from tests.standins.twilio.api import TwilioApi
from tests.standins.twilio.caller import ACCOUNT_SID, AUTH_TOKEN, Call, CallOver, Spoken
from tests.standins.twilio.faults import Faults
from tests.standins.twilio.playout import Heard, HeardFrame
from tests.standins.twilio.stream import MarkRecord, StreamRecord
from tests.standins.twilio.twiml import TwimlError
from tests.standins.twilio.webhook import Request

__all__ = [
    "ACCOUNT_SID",
    "AUTH_TOKEN",
    "Call",
    "CallOver",
    "Faults",
    "Heard",
    "HeardFrame",
    "MarkRecord",
    "Request",
    "Spoken",
    "StreamRecord",
    "TwilioApi",
    "TwimlError",
]
