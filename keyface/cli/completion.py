"""`keyface completion`: what a shell needs to complete keyface's commands with the Tab key."""

import typing
from argparse import Action, ArgumentParser
from pathlib import Path
from typing import Any, Literal

from keyface.cli.commands import TRAINING

LIGHTNING = {
    "bash": "complete -o bashdefault -F _shtab_keyface lightning",
    "zsh": "compdef lightning=keyface",
    "fish": "complete --command lightning --wraps keyface",
}
"""Shell → a line that lets it complete `lightning` as well."""

FILES = ("--config", "--ckpt_path", "--runs")
TRAINING_OPTIONS = (*FILES, "--experiment", "--seed_everything", "--print_config")
"""What is offered after `fit` and its like; Lightning's other options come from configs' classes."""


def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print a script that lets a shell complete commands, options, choices and files.

    The script is static and answers at once; print it again after an update of keyface.

    - bash: keyface completion bash > ~/.local/share/bash-completion/completions/keyface
    - zsh: keyface completion zsh > FOLDER/_keyface, with a FOLDER of $fpath
    - fish: keyface completion fish > ~/.config/fish/completions/keyface.fish

    For the shell that runs, `source <(keyface completion bash)` will do.

    Args:
        shell: Which shell.
    """
    import shtab

    from keyface.cli.parsing.parser import build_parser

    parser = build_parser(None)
    prepare(parser)
    print(shtab.complete(parser, shell), LIGHTNING[shell], sep="\n")


def prepare(parser: ArgumentParser) -> None:
    """Give the options of a parser, and of the commands in it, the choices and files that shtab offers.

    Args:
        parser: Is good for nothing else afterwards.
    """
    import shtab

    parser.description = (parser.description or "").partition("\n")[0]
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for name, inner in action.choices.items():
                if name in TRAINING:
                    add_training_options(inner)
                prepare(inner)
            continue
        known = choices(getattr(action, "_typehint", None))
        if known:
            action.choices = known
        elif takes_file(action):
            action.complete = shtab.FILE  # type: ignore[attr-defined]


def add_training_options(parser: ArgumentParser) -> None:
    """Add the options of `fit` and its like that people type."""
    for option in TRAINING_OPTIONS:
        short = ["-c"] if option == "--config" else []
        kind: dict[str, Any] = {"action": "store_true"} if option == "--print_config" else {}
        if option in FILES:
            kind = {"metavar": "FILE"}
        parser.add_argument(*short, option, **kind)


def takes_file(action: Action) -> bool:
    """Tell whether the value of an option is a file or a folder."""
    return action.metavar == "FILE" or Path in parts(getattr(action, "_typehint", None))


def choices(hint: object) -> list[str]:
    """Return the words that a type allows; none where there are others."""
    found: list[str] = []
    for part in parts(hint):
        if typing.get_origin(part) is Literal:
            found += map(str, typing.get_args(part))
        elif part is bool:
            found += ["true", "false"]
    return found


def parts(hint: object) -> list[object]:
    """Return the types of a union, or the type itself."""
    if typing.get_origin(hint) in (Literal, list, dict, tuple):
        return [hint]
    return list(typing.get_args(hint)) or [hint]
