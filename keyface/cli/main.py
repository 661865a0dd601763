"""The command line: one set of subcommands behind two equal console scripts, `keyface` and `lightning`.

`fit`, `validate`, `test` and `predict` belong to Lightning's own command line, in
`keyface.cli.training.subcommands`; the rest are plain typed functions, named in `keyface.cli.commands` and
imported only when they are called.
That is why `keyface --help` answers in a fraction of a second although `import torch` alone takes longer.
"""

import inspect
import os
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Sequence

from keyface.cli.commands import COMMANDS, TRAINING, Group
from keyface.cli.environment import quiet_libraries, replace_closed_streams, restrict_imports
from keyface.cli.messages import DEBUG_VARIABLE, parsing_error, told, warning_line
from keyface.cli.parsing.parser import build_parser
from keyface.cli.parsing.words import hide_bytes, show_bytes
from keyface.cli.stopping import Stop, stopping
from keyface.ending import Ended
from keyface.progress import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    The status is 0; 1 where something failed; 2 where the words are wrong; 130 after Ctrl-C, 129 after SIGHUP
    and 143 after SIGTERM; 141 where the reader of a pipe left.

    Whatever goes wrong is one line on stderr: what failed, at which stage, and what to do about it.

    Args:
        arguments: The words after the program's name; those of this process when None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    replace_closed_streams()
    restrict_imports()
    quiet_libraries()
    format_warning, warnings.formatwarning = warnings.formatwarning, warning_line
    with stopping() as stop:
        try:
            return _status(words, stop)
        finally:
            warnings.formatwarning = format_warning


def _status(words: Sequence[str], stop: Stop) -> int:
    """Run one command line; return its exit status, with every error told."""
    try:
        if words and words[0] in TRAINING:
            from keyface.cli.training.subcommands import run_training

            run_training(words)
            status = 0
        else:
            status = run_command(words)
        sys.stdout.flush()
    except Ended as ended:
        return int(ended.code or 0)
    except (KeyboardInterrupt, SystemExit) as error:
        if stop.received is not None:  # a fit ends by SystemExit then
            say(f"keyface: stopped by {stop.received.name}")
            return stop.status
        # Lightning turns Ctrl-C into an exit with 1.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, KeyboardInterrupt):
            raise
        say("keyface: interrupted")
        return 130
    except BrokenPipeError:  # as of `keyface plugins list | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 141  # what a shell says of a program that SIGPIPE ended
    except ArgumentError as error:
        say(f"keyface: error: {show_bytes(parsing_error(str(error)))}")
        return 2
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        say(f"keyface: error: {told(error, words[0] if words else '')}")
        return 1
    return status


def run_command(words: Sequence[str]) -> int:
    """Parse the words and call the function that they name; errors pass through.

    Returns:
        The exit status: what the function returns if it is one, otherwise 0.
    """
    parser = build_parser(words)
    if not words:
        parser.print_help()
        return 0
    config = parser.parse_args([hide_bytes(word) for word in words])
    command, values = COMMANDS[config.subcommand], config[config.subcommand]
    if isinstance(command, Group):
        command = command.named(words[1:])
    if isinstance(command, Group):
        command, values = command.commands[values.subcommand], values[values.subcommand]
    function = command.resolve()
    given = show_bytes(values.as_dict())
    given.pop("config", None)
    if given.get("device") == "auto":  # what each command does when nobody names one
        del given["device"]
    if "device" in given or given.get("strict_device"):
        check_device(given.get("device"), strict=bool(given.get("strict_device")))
    if "lightning" in inspect.signature(function).parameters:
        given["lightning"] = main
    status = function(**given)
    return status if isinstance(status, int) else 0


def check_device(name: str | None, *, strict: bool = False) -> None:
    """Raise ValueError where --device names nothing that this machine can compute on.

    Args:
        name: As it was given; None: it was not.
        strict: Whether the CPU in place of a GPU is an error, too.
    """
    from keyface.diffusion.device import choose_device

    choose_device(name, "--device", strict=strict)


if __name__ == "__main__":
    sys.exit(main())
