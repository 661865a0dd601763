"""The pages: links lead somewhere, named functions exist, options are the program's, the site builds."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], key=lambda page: page.name)
BY_HAND = [page for page in PAGES if page.name != "cli.md"]
WITH_FUNCTIONS = [ROOT / "ARCHITECTURE.md", ROOT / "docs" / "method.md"]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What GitHub and the site name the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    plain = [
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip() for heading in headings
    ]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    wrong = []
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            wrong.append(link)
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{link}: no such heading")
    assert not wrong


def defined(file: Path) -> set[str]:
    """Functions, classes and methods of a module, methods as Class.method."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("page", WITH_FUNCTIONS, ids=name_of)
def test_named_functions_stand_in_the_files_that_are_linked(page: Path) -> None:
    text = prose(page)
    linked = [
        *re.findall(r"\[([^\]]*`[^\]]+`[^\]]*)\]\(([^)]+\.py)\)", text),
        *re.findall(r"(`[A-Za-z_.]+`)\s+\(\[[^\]]+\]\(([^)]+\.py)\)\)", text),
    ]
    assert len(linked) >= 8
    for words, file in linked:
        names = set(re.findall(r"`([A-Za-z_.]+)`", words))
        assert names <= defined((page.parent / file).resolve()), f"{words} in {file}"


def test_the_map_names_every_folder() -> None:
    """And no folder that is not there."""
    text = (ROOT / "ARCHITECTURE.md").read_text().split("## A frame")[0]
    named = set(re.findall(r"^\| `([\w/]+)/`", text, flags=re.MULTILINE))
    there = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} - {"keyface"}
    there |= {
        f"keyface/{path.name}" for path in (ROOT / "keyface").iterdir() if (path / "__init__.py").exists()
    }
    assert named == there | {"docs", "tests"}


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    words = ["--fail-on-warning", "--keep-going", "--quiet", "-c", "docs", "-d", str(tmp_path / "doctrees")]
    built = subprocess.run(
        [sys.executable, "-P", "-m", "sphinx", *words, ".", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "ARCHITECTURE.md"]:
        assert (tmp_path / "site" / page.relative_to(ROOT)).with_suffix(".html").exists()


@cache
def cli_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cli_page", ROOT / "docs" / "cli_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def helps() -> dict[tuple[str, ...], str]:
    """What `--help` prints of every command but Lightning's own."""
    return dict(cli_page().commands())


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w.-]*", text))


def test_cli_md_holds_every_command_and_option() -> None:
    """Only names are compared: how argparse lays out a line depends on Python's version."""
    sections = re.findall(
        r"^## keyface ([\w -]+)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "cli.md").read_text(), re.M | re.S
    )
    written = {tuple(name.split()): options_in(text) for name, text in sections}
    assert written == {words: options_in(text) for words, text in helps().items()}, (
        "docs/cli.md is out of date: .venv/bin/python -P docs/cli_page.py"
    )


def commands_of(page: Path) -> list[str]:
    """Every `keyface …` line and span of a page."""
    text = page.read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    spans = re.findall(r"`(keyface [^`]+)`", prose(page).replace("\n", " "))
    return [line.split("  #")[0].strip() for line in [*lines, *spans] if line.strip()]


@pytest.mark.parametrize("page", BY_HAND, ids=name_of)
def test_options_in_the_text_are_those_of_the_program(page: Path) -> None:
    for command in commands_of(page):
        words = shlex.split(command)
        if words[0] != "keyface" or words[1].startswith("-") or words[1] in cli_page().LIGHTNING:
            continue
        named = next((tuple(words[1 : 1 + n]) for n in (2, 1) if tuple(words[1 : 1 + n]) in helps()), None)
        if named is None:
            assert len(words) == 2, f"{command}: no such command"
            assert any(each[0] == words[1] for each in helps()), f"{command}: no such command"
            continue
        given = {word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)} - {"--help", "-h"}
        given = {option for option in given if not option.endswith("…")}
        assert given <= options_in(helps()[named]), command


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split()) <= 1000
    assert len(text.splitlines()) <= 190
