"""Put this folder on PYTHONPATH and every worker has a backend `poison`, which kills the worker that runs it."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_FILES = {"workers.poison": "__init__.py", "workers.poison.runner": "runner.py"}


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _FILES:
            return None
        file = Path(__file__).parent / _FILES[name]
        package = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=package)


sys.meta_path.insert(0, _Finder)
