"""Write docs/cli.md from what `keyface … --help` prints: `.venv/bin/python -P docs/cli_page.py`.

tests/test_docs.py says when the page is out of date.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from keyface.cli.commands import COMMANDS, Group

PAGE = Path(__file__).parent / "cli.md"
WIDTH = "88"
HEAD = """# Command line

`keyface` and `lightning` are the same program. Every command takes `--help`, and this page holds what
it prints. `fit`, `validate`, `test` and `predict` are Lightning's own: `keyface fit --help` shows their
options, and [Training](training.md) explains them.

<!-- Written by docs/cli_page.py; edit the docstrings of keyface/commands instead. -->
"""
LIGHTNING = ("fit", "validate", "test", "predict")


def help_of(words: list[str]) -> str:
    """Return what `keyface WORDS --help` prints, at a fixed width."""
    [script] = entry_points(group="console_scripts", name="keyface")
    keyface, text = script.load(), io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            keyface([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return text.getvalue()


def commands(words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every command below `words` with its help; Lightning's own are left out."""
    text = help_of(list(words))
    listed = re.search(r"Available subcommands:.*", text, flags=re.DOTALL)
    if words and not listed:
        yield words, text
        # A group with a default is a command of its own, whose help lists none of those below it.
        entry = COMMANDS[words[0]]
        if len(words) == 1 and isinstance(entry, Group):
            for name in entry.commands:
                yield from commands((*words, name))
        return
    names = re.findall(r"^ {4}([a-z][\w-]*)\b", listed[0] if listed else "", flags=re.MULTILINE)
    for name in names:
        if words or name not in LIGHTNING:
            yield from commands((*words, name))


def page() -> str:
    """Return the whole page."""
    found = dict(commands())
    parts = [
        f"## keyface {' '.join(words)}\n\n```text\n{text.strip()}\n```\n" for words, text in found.items()
    ]
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE}: {page().count(chr(10) + '## ')} commands")
