"""From the signature and the docstring of a function to its command line."""

import inspect
import typing
from argparse import SUPPRESS, Action
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import docstring_parser
from jsonargparse import ArgumentParser, DefaultHelpFormatter

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Input": (
        "config", "manifest", "outputs", "clip", "video", "person", "finder", "crop", "doubtful",
        "start", "end", "max_seconds", "on_corrupt", "shards", "images", "attributes", "masks",
        "landmarks", "identities", "mapping", "protocol", "method", "videos", "annotations", "clips",
        "gallery", "frames", "long_clips", "distractors", "limit", "branch", "file", "benchmark",
        "reference", "name", "names", "shell", "trust", "study", "answers", "methods", "scores",
    ),
    "Output": (
        "output", "compare", "mask_video", "preview", "encoding", "label", "no_watermark", "sign", "json",
        "plot", "sheet", "show", "cache", "runs", "overwrite", "resume", "restart", "sbatch",
    ),
    "Edit": (
        "edits", "categories", "prompt", "source", "negative", "steps", "guidance", "strength", "seed",
        "compose", "ours", "controls", "variants", "sweep", "modes",
    ),
    "Networks": (
        "weights", "identity", "direction", "lora", "embedding", "controlnet", "control", "ip_adapter",
        "reference_face", "backbone", "captioner", "judges", "raft", "scale", "form",
        "root",
    ),
    "Machine": (
        "device", "strict_device", "dtype", "precision", "accelerator", "devices", "nodes", "num_nodes",
        "batch_size", "workers", "compile", "channels_last", "gradient_checkpointing",
    ),
}  # fmt: skip
"""Heading in `--help` → parameters that stand below it, of whatever command; others follow "options"."""

ONLY_WITH = {"Edit": "edits", "identity": "direction"}
"""Heading or parameter → what a command must take, too: `--seed` of rendered shards is no part of an edit."""


class Help(DefaultHelpFormatter):
    """Format options without Python's type names, and with defaults only where they say something."""

    def _get_help_string(self, action: Action) -> str:
        needed = " (required)" if action.required and action.option_strings else ""
        return (action.help or "") + needed

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Wrap paragraphs one by one, and leave lines that are indented or of a list as they are."""
        shown = []
        for paragraph in text.split("\n\n"):
            lines = paragraph.splitlines()
            as_it_is = any(line.startswith((" ", "- ")) for line in lines)
            shown.append(paragraph if as_it_is else super()._fill_text(paragraph, width, indent))
        return "\n\n".join(shown)


def add_function(parser: ArgumentParser, function: Callable[..., object], config: bool = False) -> None:
    """Add a function's parameters to a parser, with help from its docstring.

    What is parsed has only those values that were given; the function knows its own defaults. Parameters
    without a default are positional, those with one are options; `output` is always an option, also `-o`; a
    bool is a switch; a list is positional words, or an option that may be repeated; a parameter annotated
    `Annotated[Mapping[str, Any], SomeDataclass]` becomes an option for each field (`--settings.steps`), those
    of dataclasses inside it as well (`--settings.injection.mode`), and the function gets the nested mapping
    of what was given; a function after the dataclass returns the one that holds for the miniature, and
    `--help` tells both defaults; `lightning` is not the user's (see `keyface.cli.main`).

    Args:
        parser: An empty parser.
        function: Its docstring describes every parameter, in Google's style.
        config: Whether to add `-c/--config FILE`, which gives options by their names in YAML.
    """
    docstring = docstring_parser.parse(function.__doc__ or "")
    parser.description = "\n\n".join(filter(None, (docstring.short_description, docstring.long_description)))
    helps = {each.arg_name: " ".join((each.description or "").split()) for each in docstring.params}
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    headings = {
        name: heading
        for heading, names in GROUPS.items()
        for name in names
        if all(ONLY_WITH.get(each, name) in parameters for each in (heading, name))
    }
    groups = {heading: parser.add_argument_group(heading) for heading in GROUPS}
    if config:
        groups["Input"].add_argument(
            "-c",
            "--config",
            action="config",
            metavar="FILE",
            help="YAML file with options by their names, as in 'steps: 20'; may be repeated, the later wins.",
        )
    for name, parameter in parameters.items():
        if name == "lightning":
            continue
        if (settings := _dataclass_of(hints[name])) is not None:
            section = parser.add_argument_group(name.capitalize(), helps.get(name))
            _add_fields(section, settings, name, settings(), _of_miniature(hints[name]))
            continue
        group = groups[headings[name]] if name in headings else parser
        _add_parameter(group, name, hints[name], parameter, helps.get(name) or "")


def _add_parameter(group: Any, name: str, hint: Any, parameter: inspect.Parameter, text: str) -> None:
    """Add one parameter to a parser or to a group of it."""
    default = parameter.default
    required = default is inspect.Parameter.empty
    option = "--" + name.replace("_", "-")
    if hint is bool:
        group.add_argument(option, action="store_true", default=SUPPRESS, help=text)
        return
    given: dict[str, Any] = {"help": text if required else text + _default(default), "type": hint}
    given["metavar"] = metavar(hint)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        group.add_argument(name, nargs="*", type=item, default=SUPPRESS, metavar=name.upper(), help=text)
        return
    if (item := _item_of(hint)) is not None:
        given |= {"type": item, "metavar": metavar(item)}
        given |= {"nargs": "+"} if required else {"action": "append"}
    if not required:
        given["default"] = SUPPRESS
    if name == "output":
        group.add_argument("-o", option, required=required, **given)
    elif required and parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        group.add_argument(option, required=True, action="extend", **given)
    elif required:
        group.add_argument(name, **given | {"metavar": name.upper()})
    else:
        group.add_argument(option, **given)


def _add_fields(group: Any, settings: type, prefix: str, general: Any, miniature: Any) -> None:
    """Add an option for each field of a dataclass, and of the dataclasses in it.

    Args:
        group: Part of a parser.
        settings: The dataclass; each of its fields has a default.
        prefix: Name of the parameter, or of the field that holds the dataclass.
        general: One with the defaults of weights that say nothing themselves.
        miniature: One with the miniature's defaults; None where there is no difference.
    """
    helps = _field_helps(settings)
    hints = typing.get_type_hints(settings)
    for each in fields(settings):
        if not each.init:
            continue
        name, hint = f"{prefix}.{each.name}", hints[each.name]
        value = getattr(general, each.name)
        own = value if miniature is None else getattr(miniature, each.name)
        if is_dataclass(hint):
            _add_fields(group, typing.cast(type, hint), name, value, own)
            continue
        default = _default(value)
        if own != value:
            default = f" (default: {_shown(own)}, by the miniature's edit.yaml; {_shown(value)} without one)"
        text = helps.get(each.name, "") + default
        group.add_argument(f"--{name}", type=hint, default=SUPPRESS, metavar=metavar(hint), help=text)


def _field_helps(settings: type) -> dict[str, str]:
    """Return what the dataclass says about its fields, below each or in its docstring."""
    found = docstring_parser.parse_from_object(settings).params
    return {each.arg_name: " ".join((each.description or "").split()) for each in found}


def _default(value: object) -> str:
    """Return what `--help` says of a default; of none nothing, since the text says what happens then."""
    return "" if value is None or value == "" or value == {} else f" (default: {_shown(value)})"


def _shown(value: object) -> str:
    """Return a value as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple | list) else str(value)


def metavar(hint: Any) -> str:
    """Return what stands for a value of a type in `--help`: its choices, or a word.

    Example:
        >>> metavar(typing.Literal["qk", "kv"])
        '{qk,kv}'
        >>> metavar(int | None)
        'N'
    """
    words = {int: "N", float: "X", Path: "PATH", str: "TEXT", bool: "{true,false}"}
    if hint in words:
        return words[hint]
    choices = [each for each in typing.get_args(hint) if each not in (type(None), Ellipsis)]
    if typing.get_origin(hint) is typing.Literal:
        return "{" + ",".join(map(str, choices)) + "}"
    if typing.get_origin(hint) in (list, tuple):
        return f"[{metavar(choices[0])},...]"
    if typing.get_origin(hint) in (dict, Mapping):
        return "{NAME: VALUE,...}"
    return "|".join(dict.fromkeys(map(metavar, choices))) if choices else "VALUE"


def _dataclass_of(hint: Any) -> type | None:
    """Return the dataclass of `Annotated[Mapping[str, Any], SomeDataclass]`; None for what is no such."""
    if typing.get_origin(hint) is typing.Annotated:
        for each in typing.get_args(hint)[1:]:
            if is_dataclass(each):
                return typing.cast(type, each)
    return None


def _of_miniature(hint: Any) -> Any:
    """Return what the function after the dataclass of a hint returns; None where there is none."""
    for each in typing.get_args(hint)[1:]:
        if inspect.isfunction(each):
            return each()
    return None


def _item_of(hint: object) -> Any:
    """Return the type of a list's items, also of `list[...] | None`; None for what is no list."""
    for part in (hint, *typing.get_args(hint)):
        if typing.get_origin(part) is list:
            return typing.get_args(part)[0]
    return None
