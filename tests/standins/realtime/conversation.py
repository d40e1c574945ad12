"""The default conversation: items in order, with the audio behind them."""

from __future__ import annotations

import base64
import copy
from dataclasses import dataclass
from typing import Any

from tests.standins import tones

from .formats import FORMATS
from .refusal import Refused, invalid

Fields = dict[str, Any]


@dataclass(slots=True)
class Item:
    """An item as the client sees it, and its audio in the session's format when it was made."""

    fields: Fields
    audio: bytes = b""
    format: str = "audio/pcm"
    truncated: bool = False

    @property
    def id(self) -> str:
        return str(self.fields["id"])

    @property
    def audio_ms(self) -> int:
        return FORMATS[self.format].ms(self.audio)

    @property
    def spoken(self) -> bool:
        """Whether its first content is audio."""
        content = self.fields.get("content") or [{}]
        return content[0].get("type") in ("input_audio", "output_audio")

    def wire(self, *, with_audio: bool = False) -> Fields:
        """A copy for an event; only retrieval sends the audio."""
        fields = copy.deepcopy(self.fields)
        if with_audio and self.spoken:
            fields["content"][0]["audio"] = base64.b64encode(self.audio).decode()
        return fields

    def heard(self, word_ms: int) -> str:
        """The words in its audio."""
        audio = FORMATS[self.format]
        return tones.hear(audio.to_pcm(self.audio), audio.rate_hz, word_ms)


class Conversation:
    """Items by their order. Every method raises Refused where the server would answer with an error."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def insert(self, item: Item, after: str | None = None) -> None:
        """Put `item` at the end, after another, or (`"root"`) in front."""
        if any(other.id == item.id for other in self.items):
            raise invalid("item.id", f"an item with id '{item.id}' exists.")
        if after is None:
            self.items.append(item)
        elif after == "root":
            self.items.insert(0, item)
        else:
            place = self.items.index(self.find(after, "previous_item_id", "item_create_invalid_previous_item_id"))
            self.items.insert(place + 1, item)

    def find(self, item_id: object, param: str, code: str) -> Item:
        for item in self.items:
            if item.id == item_id:
                return item
        raise Refused(code, f"Item with item_id not found: {item_id}", param)

    def before(self, item: Item) -> str | None:
        """The id of the item that stands before `item`."""
        place = self.items.index(item)
        return self.items[place - 1].id if place else None

    def last_id(self) -> str | None:
        return self.items[-1].id if self.items else None

    def delete(self, item_id: object) -> None:
        self.items.remove(self.find(item_id, "item_id", "item_delete_invalid_item_id"))

    def truncate(self, item_id: object, content_index: object, end_ms: object) -> None:
        """Cut an assistant's audio at `end_ms`; its transcript goes with it, all of it."""
        item = self.find(item_id, "item_id", "item_truncate_invalid_item_id")
        if content_index != 0:
            raise invalid("content_index", "expected 0.")
        if not isinstance(end_ms, int) or isinstance(end_ms, bool) or end_ms < 0:
            raise invalid("audio_end_ms", "expected a whole number of milliseconds.")
        if item.fields.get("role") != "assistant" or not item.spoken or not item.audio:
            message = "Only model output audio messages can be truncated"
            raise Refused("unsupported_content_type", message, "item_id")
        if end_ms > item.audio_ms:
            message = f"Audio content of {item.audio_ms}ms is already shorter than {end_ms}ms"
            raise Refused("invalid_value", message, "audio_end_ms")
        item.audio = item.audio[: end_ms * FORMATS[item.format].bytes_per_ms]
        item.truncated = True
        item.fields["content"][0].pop("transcript", None)
