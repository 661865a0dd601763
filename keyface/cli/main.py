"""The command line: one set of subcommands behind two equal console scripts, `keyface` and `lightning`.

`fit`, `validate`, `test` and `predict` belong to Lightning's own command line (`keyface.cli.training`);
the rest are plain typed functions, named in `COMMANDS` and imported only when they are called. That is
why `keyface --help` answers in a fraction of a second although `import torch` alone takes longer.
"""

import importlib
import inspect
import os
import re
import sys
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import docstring_parser
from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

import keyface

DEBUG_VARIABLE = "KEYFACE_DEBUG"
TRUST_VARIABLE = "KEYFACE_TRUST"

TRUSTED_IMPORTS = (
    "keyface",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    "lightning.pytorch.accelerators",
    "lightning.pytorch.demos.boring_classes",
    "torch.nn",
    "torch.optim",
    "torchmetrics",
    "diffusers.models",
    "diffusers.schedulers",
)
"""What a `class_path` in a config may name; everything else is refused before it is imported."""


@dataclass(frozen=True)
class Command:
    """A subcommand that is one plain function.

    Attributes:
        target: Where the function lives, "module:function".
        summary: Its line in `keyface --help`, kept here so that the module need not be imported for it.
    """

    target: str
    summary: str

    def resolve(self) -> Callable[..., object]:
        """Imports the module and returns the function."""
        module, _, name = self.target.partition(":")
        function: Callable[..., object] = getattr(importlib.import_module(module), name)
        return function


@dataclass(frozen=True)
class Group:
    """A subcommand that has subcommands.

    Attributes:
        summary: Its line in `keyface --help`.
        commands: The subcommands.
        default: What it does where none of them is named; None if one must be.
    """

    summary: str
    commands: Mapping[str, Command]
    default: Command | None = None

    def named(self, words: Sequence[str]) -> "Command | Group":
        """What the words after its own name ask for: the default, or the group itself."""
        if self.default is None or (words and words[0] in self.commands):
            return self
        return self.default


TRAINING: Mapping[str, str] = {
    "fit": "Train a model: keyface fit -c configs/identity.yaml",
    "validate": "Run one validation epoch.",
    "test": "Run one test epoch.",
    "predict": "Run a trained model on new data.",
}

COMMANDS: Mapping[str, Command | Group] = {
    "edit": Command("keyface.commands.edit:edit", "Edit the face in a video by categories or by a prompt."),
    "demo": Command("keyface.commands.demo:demo", "Train both branches briefly and edit a clip, end to end."),
    "benchmark": Group(
        "Measure speed, memory and quality of the ways to edit; `benchmark train` measures training.",
        {
            "train": Command(
                "keyface.commands.benchmark_training:train", "Measure a training step and its parts."
            )
        },
        default=Command(
            "keyface.commands.benchmark:benchmark", "Measure the ways to edit; see also `benchmark train -h`."
        ),
    ),
    "ablate": Command("keyface.commands.ablate:ablate", "Measure what each part of the method contributes."),
    "evaluate": Command("keyface.commands.evaluate:evaluate", "Score edited videos and write a report."),
    "shards": Group(
        "Write and check training data.",
        {
            "render": Command("keyface.commands.shards:render", "Render the miniature world into shards."),
            "celeba-hq": Command("keyface.commands.shards:celeba_hq", "Write CelebA-HQ as shards."),
            "invert": Command("keyface.commands.shards:invert", "Add inverted latents to shards."),
            "verify": Command("keyface.commands.shards:verify", "Check shards against their index."),
            "index": Command("keyface.commands.shards:index", "Write the index of shards made elsewhere."),
        },
    ),
    "caption": Command("keyface.commands.caption:caption", "Describe the images of shards."),
    "miniature": Group(
        "Look at the rendered world and measure its networks.",
        {
            "clip": Command("keyface.commands.miniature:clip", "Render a clip of one face to an mp4."),
            "sheet": Command("keyface.commands.miniature:sheet", "Render a contact sheet of faces."),
            "measure": Command("keyface.commands.measure:measure", "Measure the miniature's networks."),
        },
    ),
    "export": Command("keyface.commands.export:export", "Write a fine-tuned branch for diffusers."),
    "weights": Group(
        "Fetch and check external weights: Stable Diffusion, ArcFace, CLIP, ...",
        {
            "list": Command("keyface.commands.weights:list_weights", "List the weights and which are here."),
            "get": Command("keyface.commands.weights:get", "Fetch weights and check them."),
            "verify": Command("keyface.commands.weights:verify", "Hash the weights that are here."),
            "licences": Command("keyface.commands.weights:licences", "Show the terms of the weights."),
        },
    ),
    "doctor": Command("keyface.commands.doctor:doctor", "Say what works here and what is missing."),
    "plugins": Group(
        "See which edit categories are installed.",
        {
            "list": Command("keyface.commands.plugins:list_categories", "List the edit categories."),
            "show": Command("keyface.commands.plugins:show", "Show everything about one category."),
            "check": Command("keyface.commands.plugins:check", "Load every plugin and report what is wrong."),
        },
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit status.

    Args:
        arguments: The words after the program's name; those of this process when None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    restrict_imports()
    format_warning, warnings.formatwarning = warnings.formatwarning, warning_line
    try:
        if words and words[0] in TRAINING:
            from keyface.cli.training import run_training

            run_training(words)
            status = 0
        else:
            status = run_command(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("keyface: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as of `keyface plugins list | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 141  # what a shell says of a program that SIGPIPE ended
    except ArgumentError as error:
        print(f"keyface: error: {parsing_error(str(error))}", file=sys.stderr)
        return 2
    except (ValueError, LookupError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        print(f"keyface: error: {one_line(error)}", file=sys.stderr)
        return 1
    finally:
        warnings.formatwarning = format_warning
    return status


def run_command(words: Sequence[str]) -> int:
    """Parses the words and calls the function that they name; errors pass through.

    Returns:
        The exit status: what the function returns if it is one, otherwise 0.
    """
    parser = build_parser(words)
    if not words:
        parser.print_help()
        return 0
    # Without defaults, so that a command can tell what was given; its function has the same ones.
    config = parser.parse_args(list(words), defaults=False)
    command, values = COMMANDS[config.subcommand], config[config.subcommand]
    if isinstance(command, Group):
        command = command.named(words[1:])
    if isinstance(command, Group):
        command, values = command.commands[values.subcommand], values[values.subcommand]
    function = command.resolve()
    if "lightning" in inspect.signature(function).parameters:
        values["lightning"] = main
    status = function(**values.as_dict())
    return status if isinstance(status, int) else 0


def build_parser(words: Sequence[str] = ()) -> ArgumentParser:
    """Builds the parser of the whole command line; only the command that the words name is imported."""
    parser = ArgumentParser(
        description=keyface.__doc__,
        epilog=f"{DEBUG_VARIABLE}=1 shows tracebacks; {TRUST_VARIABLE}=package lets configs import it.",
        exit_on_error=False,
        version=keyface.__version__,
    )
    subcommands = parser.add_subcommands(title="commands")
    for name, summary in TRAINING.items():
        subcommands.add_subcommand(name, ArgumentParser(description=summary), help=summary)
    add_commands(subcommands, COMMANDS, words)
    return parser


def add_commands(subcommands: Any, commands: Mapping[str, Command | Group], words: Sequence[str]) -> None:
    """Adds commands to a parser's subcommands, with arguments only for the one that the words start with.

    Args:
        subcommands: What `ArgumentParser.add_subcommands` returned.
        commands: Subcommands by name.
        words: The command line from this level on.
    """
    for name, command in commands.items():
        chosen = bool(words) and words[0] == name
        if chosen and isinstance(command, Group):
            command = command.named(words[1:])
        parser = ArgumentParser(description=command.summary)
        subcommands.add_subcommand(name, parser, help=command.summary)
        if isinstance(command, Group):
            add_commands(
                parser.add_subcommands(title="commands"), command.commands, words[1:] if chosen else ()
            )
        elif chosen:
            add_function(parser, command.resolve())


def add_function(parser: ArgumentParser, function: Callable[..., object]) -> None:
    """Adds a function's parameters to a parser, with help from its docstring.

    Parameters without a default are positional, those with one are options; `output` and `out` are always
    options, also `-o`; a bool is a switch; a list is positional words, or an option that may be repeated;
    `lightning` is not the user's (see `run_command`).
    """
    documented = docstring_parser.parse(function.__doc__ or "").params
    helps = {parameter.arg_name: parameter.description for parameter in documented}
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "lightning":
            continue
        if (settings_class := _settings_class(hints[name])) is not None:
            parser.add_class_arguments(settings_class, name)
            continue
        required = parameter.default is inspect.Parameter.empty
        option = "--" + name.replace("_", "-")
        settings: dict[str, Any] = {"help": helps.get(name)}
        if hints[name] is bool:
            settings |= {"action": "store_true"}
        elif (item := _item_of(hints[name])) is not None:
            settings |= {"type": item} | ({"nargs": "+"} if required else {"action": "append"})
        else:
            settings |= {"type": hints[name]}
        if name in ("output", "out"):
            parser.add_argument("-o", option, required=required, **settings)
        elif required:
            parser.add_argument(name, **settings)
        else:
            parser.add_argument(option, **settings)
        if not required:
            parser.set_defaults({name: parameter.default})


def _settings_class(hint: object) -> type | None:
    """The dataclass of an `Annotated[Mapping[str, Any], dataclass]`; None for any other type."""
    if typing.get_origin(hint) is not typing.Annotated:
        return None
    found: type = typing.get_args(hint)[1]
    return found


def _item_of(hint: object) -> Any:
    """The type of a list's items, also of `list[...] | None`; None for what is no list."""
    for part in (hint, *typing.get_args(hint)):
        if typing.get_origin(part) is list:
            return typing.get_args(part)[0]
    return None


def quiet_libraries() -> None:
    """Keeps loading bars and advice of diffusers and transformers from burying our own lines.

    By environment, since importing them here would cost seconds; what the user has set stays.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def restrict_imports() -> None:
    """Lets configs name classes of trusted packages only, and interpolate across files.

    jsonargparse imports whatever a `class_path` says, so a config from elsewhere could otherwise run any
    code. Packages of one's own are added with the environment variable KEYFACE_TRUST=package,package.
    """
    own = [name.strip() for name in os.environ.get(TRUST_VARIABLE, "").split(",") if name.strip()]
    set_parsing_settings(
        docstring_parse_attribute_docstrings=True,
        import_path_denylist=["*"],
        import_path_allowlist=[*TRUSTED_IMPORTS, *own],
        omegaconf_absolute_to_relative_paths=True,
    )


def one_line(error: BaseException) -> str:
    """Returns an error's message in one line; a KeyError's without the quotes that `str` adds.

    Of what jsonargparse wraps around an error that a config's class raised, only that error is left.
    """
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    reasons = reasons_of([line.strip() for line in message.splitlines()])
    return " ".join(" ".join(reasons).removeprefix("- ").split()) or type(error).__name__


def warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Formats a warning for the user, in one line and without the source code that raised it."""
    return f"keyface: warning: {' '.join(str(message).split())}\n"


def parsing_error(message: str) -> str:
    """Returns the telling part of jsonargparse's message, which may be a page long, in one line."""
    lines = [line.strip() for line in message.splitlines()]
    if "Errors:" in lines:
        lines = [lines[0], *reasons_of(lines)]
    advice = f"{TRUST_VARIABLE}=package,... allows packages that you trust."
    return re.sub(r"Add the import path to import_path_allowlist.*?allow it\.", advice, " ".join(lines))


def reasons_of(lines: list[str]) -> list[str]:
    """Returns what follows "Errors:" in the lines of jsonargparse's message, or all of another's."""
    if "Errors:" not in lines:
        return lines
    reasons = [line for line in lines[lines.index("Errors:") + 1 :] if not line.startswith("Given value")]
    return [line for line in reasons if "NoneType" not in line]
