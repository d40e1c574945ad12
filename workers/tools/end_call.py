"""Lets the model end the call, once its goodbye was heard."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from workers.providers.options import read_options
from workers.tools.base import Caller, Tool


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EndCall:
    name = "end_call"
    description = "End the call. Use it when the caller says goodbye or wants nothing more, and not before."

    @property
    def parameters(self) -> dict[str, Any]:
        return {"type": "object", "properties": {}, "additionalProperties": False}

    async def call(self, arguments: dict[str, Any], caller: Caller) -> Any:
        caller.end("assistant_ended")
        return {"ok": True, "next": "Say a short goodbye. The call ends after it."}


def tool(options: dict[str, Any]) -> Tool:
    """Raises SettingsError: it has no options."""
    read_options(Options, options, "tool end_call")
    return EndCall()
