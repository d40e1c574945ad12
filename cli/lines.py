"""Lines in columns: wrapped under their own column on a terminal; never wrapped, and nothing at the end, in a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

_NARROWEST = 20


def plain_or_rich() -> Console:
    """Standard output: colours and wrapping on a terminal only."""
    return Console(highlight=False, soft_wrap=True)


def show(console: Console, heads: list[tuple[str, int, str]], text: Text) -> None:
    """Print `heads` (text, columns, style), then `text` in what room is left."""
    head = Text()
    for words, columns, style in heads:
        head.append(words.ljust(columns) if len(words) < columns else words + " ", style)
    room = max(_NARROWEST, console.width - head.cell_len)
    lines = text.wrap(console, room) if console.is_terminal else text.split("\n")
    for number, line in enumerate(lines):
        line.rstrip()
        console.print(Text.assemble(head if number == 0 else " " * head.cell_len, line))
