"""A stand-in for Cartesia: `server.py` says what it does, `behaviour.py` what it can do wrong."""

from .behaviour import Behaviour, Fault
from .listening import Listened
from .server import VERSION, Cartesia
from .speaking import Spoken

__all__ = ["VERSION", "Behaviour", "Cartesia", "Fault", "Listened", "Spoken"]
