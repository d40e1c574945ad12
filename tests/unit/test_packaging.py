"""What an installation must not bring: torch, a machine's own addresses, the GPL where it was not asked for."""

import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
GPL = {"espeakng-loader", "piper-tts"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^a-z0-9-]", requirement.lower(), maxsplit=1)[0] for requirement in requirements}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_holds_versions_and_hashes_and_no_address_or_path(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    pattern = re.compile(r"[a-z0-9-]+(\[[a-z,]+\])?==[^ /@]+( ; [^/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [line for line in lines if not pattern.fullmatch(line)] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_holds_no_torch(lock: Path) -> None:
    assert not re.search(r"^(torch|nvidia|triton)", lock.read_text(), re.MULTILINE)


def test_torch_is_not_installed_and_silero_needs_no_import() -> None:
    assert importlib.util.find_spec("torch") is None
    files = importlib.metadata.files("silero-vad") or []
    model = [Path(str(file.locate())) for file in files if file.name == "silero_vad.onnx"]
    assert len(model) == 1
    assert model[0].stat().st_size > 1_000_000
    assert "silero_vad" not in sys.modules


def test_gpl_code_comes_only_with_the_extras_that_say_so() -> None:
    requirements = importlib.metadata.requires("trunkline") or []
    extras = [requirement for requirement in requirements if "extra ==" in requirement]
    assert names(extras) >= GPL
    assert not GPL & names([requirement for requirement in requirements if requirement not in extras])
