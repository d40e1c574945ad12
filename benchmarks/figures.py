"""How the benchmarks count and show: percentiles, the machine they ran on, tables, JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]
"""What one run found, as it goes into the JSON."""


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile: one of the values, not between two; of no values, infinity."""
    if not values:
        return {"p50": float("inf"), "p99": float("inf")}
    ordered = sorted(values)
    return {f"p{share}": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 3) for share in (50, 99)}


def machine() -> Result:
    """Where this runs, and how busy it was with other things in the last minute."""
    return {
        "cpus": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """One right-aligned column a figure."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[index]) for row in [columns, *cells]) for index in range(len(columns))]
    print(f"\n{title}")
    for row in [columns, *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)), flush=True)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found")


def write_json(path: Path | None, results: Sequence[Result]) -> None:
    """One result as an object, several as a list."""
    if path is not None:
        path.write_text(json.dumps(results[0] if len(results) == 1 else results, indent=1) + "\n", encoding="utf-8")
