"""What the server answers with an `error` event, and the session goes on; and what it does not even let in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

_NOT_LET_IN = {
    401: ("invalid_api_key", "Incorrect API key provided."),
    403: ("forbidden", "Your project does not have access to this model."),
    404: ("not_found", "There is nothing at this address."),
    429: ("rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", "The server had an error while processing your request."),
    503: ("server_overloaded", "The engine is currently overloaded, please try again later."),
}


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


def not_let_in(status: int) -> dict[str, Any]:
    """The JSON body of an HTTP answer that lets nobody in."""
    code, message = _NOT_LET_IN.get(status, ("error", HTTPStatus(status).phrase))
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def not_obeyed(refused: Refused) -> dict[str, Any]:
    """The JSON body of a 400."""
    kind = "invalid_request_error"
    return {"error": {"message": str(refused), "type": kind, "param": refused.param, "code": refused.code}}
