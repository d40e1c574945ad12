"""What the server answers with an `error` event, and the session goes on."""

from __future__ import annotations


class Refused(Exception):
    """A client event that is not obeyed. The codes are those seen in public code (PROTOCOLS 1.5) where it shows one."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


def missing(param: str) -> Refused:
    return Refused("missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def invalid(param: str, why: str) -> Refused:
    return Refused("invalid_value", f"Invalid '{param}': {why}", param)
