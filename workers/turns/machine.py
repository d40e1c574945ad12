"""Whose turn it is, as one table: a move that is not in it is a mistake of ours and raises.

listening -> user_speaking <-> endpointing -> thinking -> speaking -> listening
                                                  |           |
                                             talked_over  interrupted     speech over an answer: it is held ...
                                                  |           |
                                   barge-in: user_speaking, or back         ... and given up, or gone on with
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    LISTENING = "listening"
    USER_SPEAKING = "user_speaking"
    ENDPOINTING = "endpointing"
    """The user is silent, but perhaps not finished."""
    THINKING = "thinking"
    TALKED_OVER = "talked_over"
    """Thinking, while the user may be going on: nothing may be said yet."""
    SPEAKING = "speaking"
    INTERRUPTED = "interrupted"
    """Speaking, but paused, because the user may be interrupting."""


class Move(Enum):
    SPEECH = "speech"
    """Speech began, or went on after a silence."""
    SILENCE = "silence"
    """The user fell silent."""
    END = "end"
    """The utterance is over."""
    ASK = "ask"
    """There is something to answer, or to say, that was not spoken: typed text, a greeting, an answer taken over."""
    AUDIO = "audio"
    """The first audio of the answer goes out."""
    BARGE_IN = "barge_in"
    """What the user says over the answer ends it."""
    RESUME = "resume"
    """It was no interruption."""
    DONE = "done"
    """The answer has been heard, or there is none."""
    CANCEL = "cancel"
    """The client wants no answer."""


TABLE: dict[State, dict[Move, State]] = {
    State.LISTENING: {
        Move.SPEECH: State.USER_SPEAKING,
        Move.ASK: State.THINKING,
    },
    State.USER_SPEAKING: {
        Move.SILENCE: State.ENDPOINTING,
        Move.END: State.THINKING,
        Move.ASK: State.THINKING,
    },
    State.ENDPOINTING: {
        Move.SPEECH: State.USER_SPEAKING,
        Move.END: State.THINKING,
        Move.ASK: State.THINKING,
    },
    State.THINKING: {
        Move.SPEECH: State.TALKED_OVER,
        Move.AUDIO: State.SPEAKING,
        Move.ASK: State.THINKING,
        Move.DONE: State.LISTENING,
        Move.CANCEL: State.LISTENING,
    },
    State.TALKED_OVER: {
        Move.RESUME: State.THINKING,
        Move.BARGE_IN: State.USER_SPEAKING,
        Move.ASK: State.THINKING,
        Move.DONE: State.USER_SPEAKING,
        Move.CANCEL: State.USER_SPEAKING,
    },
    State.SPEAKING: {
        Move.SPEECH: State.INTERRUPTED,
        Move.ASK: State.THINKING,
        Move.DONE: State.LISTENING,
        Move.CANCEL: State.LISTENING,
    },
    State.INTERRUPTED: {
        Move.RESUME: State.SPEAKING,
        Move.BARGE_IN: State.USER_SPEAKING,
        Move.ASK: State.THINKING,
        Move.DONE: State.USER_SPEAKING,
        Move.CANCEL: State.USER_SPEAKING,
    },
}

HELD = frozenset({State.TALKED_OVER, State.INTERRUPTED})
"""An answer waits while the user may be interrupting it."""

USER = frozenset({State.USER_SPEAKING, State.ENDPOINTING})
"""The user has the floor."""

ANSWERING = frozenset({State.THINKING, State.TALKED_OVER, State.SPEAKING, State.INTERRUPTED})
"""An answer is being prepared or spoken."""

SHOWN = {
    State.LISTENING: "listening",
    State.USER_SPEAKING: "listening",
    State.ENDPOINTING: "listening",
    State.THINKING: "thinking",
    State.TALKED_OVER: "thinking",
    State.SPEAKING: "speaking",
    State.INTERRUPTED: "speaking",
}
"""What a client is told (docs/websocket.md)."""


class IllegalMove(RuntimeError):
    """The table has no such move: a mistake of the caller of `move`, not of anybody outside."""

    def __init__(self, state: State, move: Move, now_ms: int) -> None:
        super().__init__(f"{move.value} is no move from {state.value} (at {now_ms} ms)")
        self.state = state
        self.move = move


class TurnMachine:
    """The state of one conversation, and since when (ms of media time)."""

    def __init__(self, now_ms: int = 0) -> None:
        self.state = State.LISTENING
        self.since_ms = now_ms

    def move(self, move: Move, now_ms: int) -> State:
        """Make `move` at media time `now_ms` and return the new state. Raises IllegalMove, changing nothing."""
        after = TABLE[self.state].get(move)
        if after is None:
            raise IllegalMove(self.state, move, now_ms)
        if after is not self.state:
            self.state, self.since_ms = after, now_ms
        return after
