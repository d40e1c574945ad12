"""Items that a client makes: `conversation.item.create`, and the `input` of a response."""

from __future__ import annotations

import base64
import binascii
import copy
import re
from typing import Any

from openai.types.realtime import (
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
)
from pydantic import BaseModel

from .conversation import Item
from .refusal import invalid, missing
from .sdk import check_sent

Fields = dict[str, Any]

_MESSAGES: dict[str, tuple[type[BaseModel], frozenset[str]]] = {
    "system": (RealtimeConversationItemSystemMessage, frozenset({"input_text"})),
    "user": (RealtimeConversationItemUserMessage, frozenset({"input_text", "input_audio", "input_image"})),
    # Only text: a client cannot put words into the model's mouth as audio.
    "assistant": (RealtimeConversationItemAssistantMessage, frozenset({"output_text"})),
}
_FUNCTIONS: dict[str, type[BaseModel]] = {
    "function_call": RealtimeConversationItemFunctionCall,
    "function_call_output": RealtimeConversationItemFunctionCallOutput,
}


def item_from(fields: object, param: str, new_id: str, format_name: str) -> Item:
    """The item that `fields` describe, with an id if they have none; Refused if the API would not take it."""
    if not isinstance(fields, dict):
        raise missing(param)
    kind = fields.get("type")
    if kind == "message":
        _check_message(fields, param)
    elif kind in _FUNCTIONS:
        check_sent(_FUNCTIONS[kind], fields, param)
    else:
        raise invalid(f"{param}.type", f"{kind!r} is not supported.")
    item_id = fields.get("id") or new_id
    if not re.fullmatch(r"[a-zA-Z0-9_-]+", item_id):
        raise invalid(f"{param}.id", "expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.")
    defaults = {"object": "realtime.item", "status": "completed"}
    item = Item({**defaults, **copy.deepcopy(fields), "id": item_id}, format=format_name)
    for part in item.fields.get("content", []):
        if part["type"] == "input_audio":
            item.audio += _decoded(part.pop("audio", None), f"{param}.content.audio")
            part.setdefault("transcript", None)
    return item


def _check_message(fields: Fields, param: str) -> None:
    if fields.get("role") not in _MESSAGES:
        raise invalid(f"{param}.role", f"{fields.get('role')!r} is not supported.")
    model, kinds = _MESSAGES[fields["role"]]
    check_sent(model, fields, param)
    for place, part in enumerate(fields["content"]):
        if part.get("type") not in kinds:
            raise invalid(f"{param}.content[{place}].type", f"expected one of {', '.join(sorted(kinds))}.")


def _decoded(audio: object, param: str) -> bytes:
    if not isinstance(audio, str):
        raise missing(param)
    try:
        return base64.b64decode(audio, validate=True)
    except binascii.Error as error:
        raise invalid(param, str(error)) from None
