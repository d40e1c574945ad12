"""What Groq refuses, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse


class Refused(Exception):
    def __init__(
        self, message: str, code: str | None = None, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        kind = {429: "tokens", 498: "service_tier"}.get(self.status, "invalid_request_error")
        error = {"message": str(self), "type": kind if self.status < 500 else "internal_server_error"}
        return {"error": error if self.code is None else {**error, "code": self.code}}


def answer(refused: Refused, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(refused.body, refused.status, {**headers, **refused.headers})


RETRY_AFTER_S = 8

_FAULTS: dict[str, tuple[str, str | None, int]] = {
    "unauthorized": ("Invalid API Key", "invalid_api_key", 401),
    "rate_limited": ("Rate limit reached for model. Please try again in 7.5s.", "rate_limit_exceeded", 429),
    "at_capacity": ("Service tier capacity exceeded.", "capacity_exceeded", 498),
    "broken": ("Internal Server Error", None, 500),
    "bad_call": ("Failed to call a function. Please adjust your prompt.", "tool_use_failed", 400),
}


def by_fault(fault: str | None, retry_after_s: int) -> Refused | None:
    """The refusal that `fault` is, if it is one."""
    if fault not in _FAULTS:
        return None
    message, code, status = _FAULTS[fault]
    return Refused(message, code, status, {"retry-after": str(retry_after_s)} if status == 429 else {})
