"""`python -m benchmarks NAME ...` (bus, gateway, turns, phone, cascade, ...): what our claims of speed rest on.

`all` runs them after each other; with `--json DIR` it writes bus.json, gateway.json and so on there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import bus, gateway, resampler, rtc_media, turns
from benchmarks.cascade.command import CASCADE
from benchmarks.phone.command import PHONE
from benchmarks.webrtc.command import WEBRTC

BENCHMARKS: dict[str, Callable[[Sequence[str]], None]] = {
    "bus": bus.main,
    "gateway": gateway.main,
    "resampler": resampler.main,
    "rtc_media": rtc_media.main,
    "turns": turns.main,
    "phone": PHONE.main,
    "webrtc": WEBRTC.main,
    "cascade": CASCADE.main,
}


def every(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks all")
    parser.add_argument("--json", type=Path, metavar="DIR", help="also write every benchmark's results there")
    directory = parser.parse_args(arguments).json
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    for name, run in BENCHMARKS.items():
        run(["--json", str(directory / f"{name}.json")] if directory is not None else [])


def main() -> None:
    name, *arguments = sys.argv[1:] or ["all"]
    if name.startswith("-"):
        name, arguments = "all", sys.argv[1:]
    if name not in (*BENCHMARKS, "all"):
        sys.exit(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}, all; each explains itself with --help")
    BENCHMARKS.get(name, every)(arguments)


if __name__ == "__main__":
    main()
