"""What the documents point at is there: pages and their sections, files, modules, settings. Nothing is fetched."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.settings import FOR_OTHERS, PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = {"adapters", "benchmarks", "cli", "deploy", "docs", "gateway", "requirements", "tests", "trunkline", "workers"}
SUFFIXES = (".py", ".md", ".js", ".yaml", ".txt", ".sh", ".toml")

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
MODULE = re.compile(r"python -m ([a-z_]+(?:\.[a-z_]+)*)(?: ([a-z_]+))?")
VARIABLE = re.compile(r"\bTRUNKLINE_[A-Z_]+[A-Z]\b")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    return FENCE.sub("", text_of(page))


def sections(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose_of(page)))
    return {heading.strip().replace(" ", "-") for heading in kept}


def files() -> Iterator[Path]:
    for room in ROOMS:
        yield from (path for path in (ROOT / room).rglob("*") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_pages_and_sections(page: Path) -> None:
    wrong = []
    for link in LINK.findall(prose_of(page)):
        if link.startswith(("https://", "http://")):
            continue
        name, _, section = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (section and section not in sections(target)):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    """By their path from the root or from their room, or by their name alone."""
    known = {path.relative_to(ROOT).as_posix() for path in files()} | {path.name for path in ROOT.iterdir()}
    ends = {"/".join(path.split("/")[at:]) for path in known for at in range(path.count("/") + 1)}
    wrong = []
    for code in CODE.findall(prose_of(page)):
        name = code.rstrip("/").partition("::")[0]
        a_path = re.fullmatch(r"[\w./-]+", name) and (name.endswith(SUFFIXES) or code.endswith("/"))
        if a_path and name.split("/")[0] in ROOMS:
            wrong += [code] if name not in known else []
        elif a_path and not code.startswith("/") and name not in ends:
            wrong.append(code)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_are_run_are_there(page: Path) -> None:
    named = {module for module, _ in MODULE.findall(text_of(page))} - {"http.server", "pytest"}
    assert [module for module in sorted(named) if importlib.util.find_spec(module) is None] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_that_are_named_are_read(page: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {PREFIX + name for name in FOR_OTHERS}
    assert set(VARIABLE.findall(text_of(page))) - known == set()
