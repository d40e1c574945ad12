"""What all parts of a conversation share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from workers.backend import Session
from workers.cascade.hearing import Ear
from workers.cascade.turn import Turn
from workers.keeping import Keeper


@dataclass(frozen=True, slots=True)
class Shared:
    """One conversation's."""

    session: Session
    group: asyncio.TaskGroup
    """Owns every task of it."""
    ear: Ear
    """What the user says."""
    turn: Turn
    """Whose turn it is."""
    keeper: Keeper
    """Commits the snapshot, which is all that the next worker knows."""
