"""Lets the model put a telephone call through to one of the tenant's numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from workers.providers.options import read_options
from workers.tools.base import Caller, Tool, ToolError

Name = Annotated[str, Field(pattern=r"^\S(.{0,62}\S)?$")]
Number = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{4,14}$")]


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    numbers: dict[Name, Number] = Field(min_length=1, max_length=100)
    """Whom a call may be put through to: a name for the model, and a telephone number (E.164, `+15550123`)."""


class TransferCall:
    name = "transfer_call"
    description = "Put the caller through to somebody else, by telephone. Use it only when the caller wants that."

    def __init__(self, numbers: dict[str, str]) -> None:
        self._numbers = numbers

    @property
    def parameters(self) -> dict[str, Any]:
        to = {"type": "string", "enum": list(self._numbers), "description": "whom to"}
        return {"type": "object", "properties": {"to": to}, "required": ["to"], "additionalProperties": False}

    async def call(self, arguments: dict[str, Any], caller: Caller) -> Any:
        number = self._numbers.get(arguments["to"])
        if number is None:
            raise ToolError(f"nobody is called {arguments['to']!r}; there are: {', '.join(self._numbers)}")
        caller.transfer(number)
        return {"ok": True, "next": "Say in a few words that you put the caller through. It happens after that."}


def tool(options: dict[str, Any]) -> Tool:
    """Raises SettingsError without numbers, or for one that is no E.164."""
    return TransferCall(read_options(Options, options, "tool transfer_call").numbers)
