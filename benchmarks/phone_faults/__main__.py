"""What a telephone caller notices when a part of the call dies: `python -m benchmarks.phone_faults [--kills 20]`.

Twilio is the stand-in in this process; gateways, workers, Redis and the Realtime stand-in are processes of their own.
In mid-answer: silence heard after the fault beyond the pauses between words, and words missing or heard twice. In
mid-question: from its end to the first sound of the answer, and words that were not understood. In both, whether the
model still knows at the end what it was told at the beginning. Where the stream itself is lost, Twilio's own time to
come back (`--return-ms`) is taken off the silence, and what is said meanwhile is lost on Twilio's side.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from benchmarks import figures
from benchmarks.phone_faults import faults
from benchmarks.phone_faults.deployment import deployed
from benchmarks.phone_faults.outcome import Outcome
from benchmarks.phone_faults.scenarios import Kind, in_mid_answer, in_mid_question
from trunkline.loop import run

HOUR_S = 3600.0
RENEWED_S = 14.0
"""The relay leaves a session that ends after this when 12.6 s of it are over: in the middle of the story."""
ANSWER, QUESTION = "in mid-answer", "in mid-question"
COLUMNS = ("fault", "where", "faults", "p50 ms", "p95 ms", "max ms", "goal ms", "missing", "twice", "context")

SUPERVISED = (
    Kind("none", faults.nothing),
    Kind("worker kill -9, announced", faults.kill_worker, goal_ms=500),
    Kind("worker SIGTERM", faults.drain_worker, goal_ms=0, in_call=1, short=True),
    Kind("gateway kill -9", faults.kill_gateway, goal_ms=300, leaves=True),
    Kind("stream dropped", faults.drop_stream, goal_ms=300, leaves=True),
    Kind("model's socket dropped", faults.drop_model, goal_ms=800),
    Kind("model's session ends unannounced", faults.expire_model, goal_ms=800),
    Kind("model mute", faults.mute_model, in_call=1),
)
ALONE = (Kind("worker kill -9, by lease", faults.kill_unwatched_worker),)
RENEWED = (Kind("model's session renewed", faults.nothing, goal_ms=0, in_call=1, asks=False),)
PLAN = ((True, HOUR_S, SUPERVISED), (False, HOUR_S, ALONE), (True, RENEWED_S, RENEWED))
"""Whether deaths are announced, how long a session with the model lasts, and what is done then."""


async def measure(count: int, only: Sequence[str], return_ms: float) -> list[Outcome]:
    """Run what has one of `only` in its name (none: all), `count` faults of each kind."""
    outcomes: list[Outcome] = []
    for supervised, lifetime_s, kinds in PLAN:
        planned = [(kind, where) for kind in kinds for where in (ANSWER, QUESTION)[: 1 + kind.asks]]
        chosen = [
            (kind, where)
            for kind, where in planned
            if not only or any(part in f"{kind.name}, {where}" for part in only)
        ]
        if not chosen:
            continue
        async with deployed(supervised=supervised, lifetime_s=lifetime_s, return_ms=return_ms) as deployment:
            for kind, where in chosen:
                began_s = time.monotonic()
                outcome = Outcome(kind.name, where, kind.goal_ms if where == ANSWER else None)
                scenario = in_mid_answer if where == ANSWER else in_mid_question
                await scenario(deployment, kind, outcome, count)
                outcomes.append(outcome)
                print(*row(outcome), *outcome.complaints, f"in {time.monotonic() - began_s:.0f} s", flush=True)
    return outcomes


def row(outcome: Outcome) -> list[object]:
    result = outcome.result()
    shown: list[object] = [result["fault"], result["where"], result["faults"]]
    shown += [f"{result[name]:.0f}" for name in ("p50_ms", "p95_ms", "p100_ms")]
    shown.append("" if outcome.goal_ms is None else f"{outcome.goal_ms:.0f}")
    return [*shown, outcome.missing, outcome.twice, f"{outcome.calls_with_context} of {outcome.calls}"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phone_faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="faults of each kind (default: 20)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PART",
        help='e.g. "gateway" or "SIGTERM, in mid-answer"; repeatable',
    )
    parser.add_argument("--return-ms", type=float, default=100.0, help="Twilio's time to come back (default: 100)")
    figures.json_option(parser)
    chosen = parser.parse_args(arguments)
    before = figures.machine()
    outcomes = run(measure(chosen.kills, chosen.only, chosen.return_ms))
    figures.print_table("Telephone calls, and what dies in them", COLUMNS, [row(outcome) for outcome in outcomes])
    results = [outcome.result() for outcome in outcomes]
    machine = {"before": before, "after": figures.machine()}
    print(machine)
    figures.write_json(chosen.json, [{"machine": machine, "return_ms": chosen.return_ms, "results": results}])
    sys.exit(any(outcome.complaints for outcome in outcomes))


if __name__ == "__main__":
    main()
