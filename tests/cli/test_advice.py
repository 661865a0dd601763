"""What errors and warnings advise can be typed: each command and option that a message names exists."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import keyface
from keyface.cli.commands import COMMANDS, TRAINING, Group
from keyface.cli.parsing.parser import command_parser

ROOT = Path(keyface.__file__).parents[1]
COMMAND = re.compile(r"`keyface ([^`]+)`")


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and content of the strings that are no docstrings; what is filled in stands as X."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | inner:
            yield node.lineno, node.value


def advised() -> Iterator[tuple[str, str]]:
    """Yield every command in backquotes that a message of the package has, with its place."""
    for top in ("keyface", "datamodules", "lightning_modules", "callbacks", "plugins"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for line, text in texts(ast.parse(path.read_text())):
                for found in COMMAND.finditer(text):
                    yield f"{path.relative_to(ROOT)}:{line}", found[1]


ADVISED = sorted({command: place for place, command in advised()}.items())


def test_there_is_advice() -> None:
    assert len(ADVISED) > 30


@pytest.mark.parametrize(("command", "place"), ADVISED, ids=[command for command, _ in ADVISED])
def test_a_command_that_a_message_names_exists(command: str, place: str) -> None:
    words = [word for word in shlex.split(command) if word != "..."]
    if words[0] in TRAINING or words[0] == "COMMAND":
        return
    assert words[0] in COMMANDS, place
    entry = COMMANDS[words[0]]
    called = words[:1]
    if isinstance(entry, Group) and len(words) > 1 and words[1] in entry.commands:
        called = words[:2]
    elif isinstance(entry, Group):
        assert entry.default is not None or len(words) == 1, place
        if entry.default is None:
            return
    parser = command_parser(called)
    known = {option for action in parser._actions for option in action.option_strings}
    options = [word.partition("=")[0] for word in words[len(called) :] if re.match(r"--?[a-z]", word)]
    assert set(options) <= known, place
