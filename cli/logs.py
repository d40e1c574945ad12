"""Logs on standard error: lines for people, or one JSON object a line for machines. They hold what callers
say only where the settings ask for it."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from trunkline.settings import Settings
from workers import crumb


class JsonLines(logging.Formatter):
    """One object a line: `time` (UTC seconds), `level`, `process`, `logger`, `message`, `session` and `exception` where
    there is one, and the `fields` that a record was given as its `extra`: figures, for machines."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname,
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if session := crumb.current.get():
            line["session"] = session
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        line |= getattr(record, "fields", {})
        return json.dumps(line, ensure_ascii=False)


def set_up(settings: Settings, process: str) -> None:
    """Send this process's logs where they belong. Libraries speak up from WARNING only."""
    handler = logging.StreamHandler(sys.stderr)
    lines = logging.Formatter(f"%(asctime)s.%(msecs)03d {process} %(levelname)s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(JsonLines(process) if settings.log_json else lines)
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    logging.getLogger("transcripts").disabled = not settings.log_transcripts
    for library in ("uvicorn", "asyncio", "aioice", "aiortc", "httpx", "httpx2", "openai"):
        logging.getLogger(library).setLevel(logging.WARNING)
