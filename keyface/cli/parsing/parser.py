"""The parser of the whole command line, of which only the called command's part is filled."""

from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

import keyface
from keyface.cli.commands import COMMANDS, TRAINING, Command, Group
from keyface.cli.messages import DEBUG_VARIABLE, TRUST_VARIABLE, advise
from keyface.cli.parsing.arguments import Help, add_function
from keyface.cli.parsing.configs import check_config


class Parser(ArgumentParser):
    """A parser that raises its errors, in the words that people type."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, exit_on_error=False, allow_abbrev=False, formatter_class=Help, **kwargs)
        self._option_string_actions["--help"].help = "Show this help."

    def parse_path(self, path: str | PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Parse a YAML file of options, as `-c/--config` does; errors name the file.

        Raises:
            ArgumentError: It is not YAML, says a name twice, or does not fit the options.
        """
        try:
            switches = [action.dest for action in self._actions if action.nargs == 0]
            check_config(str(path), tuple(action.dest for action in self._actions), switches)
            found: Namespace = super().parse_path(path, *args, **kwargs)
        except (ValueError, OSError) as error:
            raise ArgumentError(None, str(error)) from error
        except ArgumentError as error:
            raise ArgumentError(None, f"{path}: {error}") from error
        return found

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise ArgumentError."""
        super().error(advise(message, self), ex)


def build_parser(words: Sequence[str] | None = ()) -> ArgumentParser:
    """Build the parser of the whole command line.

    Args:
        words: Only the command that they name is imported and filled; None fills all.
    """
    parser = Parser(
        prog="keyface",
        description=keyface.__doc__,
        epilog=f"{DEBUG_VARIABLE}=1 shows tracebacks; {TRUST_VARIABLE}=package lets configs import it.",
        usage="keyface COMMAND [options]",
    )
    parser.add_argument(
        "-V",
        "--version",
        action="version",
        version=f"keyface {keyface.__version__}",
        help="Print the version.",
    )
    subcommands = parser.add_subcommands(
        title="commands", metavar="COMMAND", description="`-h` after each says more."
    )
    for name, summary in TRAINING.items():
        subcommands.add_subcommand(name, Parser(description=summary), help=summary)
    add_commands(subcommands, COMMANDS, words)
    return parser


def add_commands(
    subcommands: Any,
    commands: Mapping[str, Command | Group],
    words: Sequence[str] | None,
    called: tuple[str, ...] = ("keyface",),
) -> None:
    """Add commands to a parser's subcommands, with arguments for those that are called.

    Args:
        subcommands: What `ArgumentParser.add_subcommands` returned.
        commands: Subcommands by name.
        words: The command line from this level on, which calls one; None calls all, with a group's default
            beside its commands.
        called: The words before these.
    """
    for name, command in commands.items():
        chosen = words is None or (bool(words) and words[0] == name)
        rest = () if not chosen else words and words[1:]
        if words is not None and chosen and isinstance(command, Group):
            command = command.named(words[1:])
        parser = Parser(description=command.summary)
        subcommands.add_subcommand(name, parser, help=command.summary)
        line = (*called, name)
        if isinstance(command, Group):
            parser.usage = f"{' '.join(line)} COMMAND [options]"
            inner = parser.add_subcommands(
                title="commands", metavar="COMMAND", description="`-h` after each says more."
            )
            add_commands(inner, command.commands, rest, line)
            if words is None and command.default is not None:
                add_function(parser, command.default.resolve(), config=command.default.config)
        elif chosen:
            add_function(parser, command.resolve(), config=command.config)
            parser.usage = usage(parser, line)


def command_parser(words: Sequence[str]) -> ArgumentParser:
    """Return the parser of one command, which the words call."""
    parser = build_parser(words)
    for word in words:
        if parser._subcommands_action is not None:
            parser = parser._subcommands_action.choices[word]
    return parser


def usage(parser: ArgumentParser, line: Sequence[str]) -> str:
    """Return the usage line of a command: what must be given; the options are listed below it."""
    positional = [action for action in parser._actions if not action.option_strings]
    needed = [action for action in parser._actions if action.option_strings and action.required]
    many = {"+": "{} ...", "*": "[{} ...]"}
    words = [many.get(str(each.nargs), "{}").format(each.metavar) for each in positional]
    words += [
        f"{each.option_strings[0]} {many.get(str(each.nargs), '{}').format(each.metavar)}" for each in needed
    ]
    return " ".join([*line, *words, "[options]"])
