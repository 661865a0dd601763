"""What goes wrong, as one line for the user: errors, warnings and mistyped words."""

import errno
import logging
import re
import warnings
from argparse import Action
from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import ArgumentParser

from keyface.configuration import did_you_mean, in_words
from keyface.progress import STAGE, stage_of

DEBUG_VARIABLE = "KEYFACE_DEBUG"
TRUST_VARIABLE = "KEYFACE_TRUST"
LIGHTNING_NOISE = ("litlogger", "TPU cores", "was configured so", "`Trainer.fit` stopped: `max_steps")
"""What its log lines contain that tell nobody anything; its errors and choices of devices are told."""

LIGHTNING_WARNINGS = (
    r".*LeafSpec.*",  # a deprecated name that Lightning itself uses
    r"Found .* module\(s\) in eval mode at the start of training",  # frozen networks are meant to be
)
_LONGEST, _BEGINNING = 1000, 700
"""Characters of a message, and of its beginning where it is longer."""

FULL_DISK = "no space is left there; make room, or choose another disk"

PLACES = {
    errno.EEXIST: "exists already, where a folder is to be made; give another place",
    errno.ENOTDIR: "a file stands where a folder is needed; give another place",
    errno.EISDIR: "is a folder; give the name of a file",
    errno.ENAMETOOLONG: "the name is too long; give a shorter one",
    errno.EACCES: "no permission; give another place, or change whom it belongs to",
    errno.EROFS: "this disk can only be read; give another place",
    errno.ELOOP: "is a link that leads to itself; give another place",
    errno.ENOSPC: FULL_DISK,
    errno.EDQUOT: FULL_DISK,
}
"""What the system finds wrong with the name of a file, by its number, and what to do."""

LESS_MEMORY_TO_TRAIN = (
    "Take a smaller data.batch_size with trainer.accumulate_grad_batches, tuning.gradient_checkpointing, or "
    "tuning.lora; `keyface benchmark train --dry-run` says what each needs."
)

LESS_MEMORY = "Take a smaller batch, fewer frames or smaller images, or close other programs."


EXPECTED = (ValueError, LookupError, OSError, ImportError, ArithmeticError, RuntimeError, MemoryError)
"""What is raised with a message for users; anything else, and a bare assertion, is a fault of keyface."""


def told(error: Exception, command: str) -> str:
    """Return what the user is told of an error: one line, with the stage at which it came.

    Args:
        error: What reached the top.
        command: The subcommand, which is the stage of errors that nobody expected.
    """
    message, stage = one_line(error), stage_of(error)
    if not isinstance(error, EXPECTED) or isinstance(error, NotImplementedError):
        kind = type(error).__name__
        message = (
            f"{kind}: {message.removeprefix(kind).removeprefix(': ')}; this is a fault of keyface, "
            f"{DEBUG_VARIABLE}=1 shows where"
        )
        stage = stage or command
    return message if not stage or message.startswith(f"{stage}: ") else f"{stage}: {message}"


def one_line(error: BaseException) -> str:
    """Return an error's message in one line; a KeyError's without the quotes that `str` adds.

    Of what jsonargparse wraps around an error that a config's class raised, only that error is left.
    """
    if isinstance(error, OSError) and error.errno in PLACES and error.filename is not None:
        return f"{_plain(str(error.filename))}: {PLACES[error.errno]}"
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if is_out_of_memory(error):
        notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith(STAGE)]
        advice = " ".join(notes) or LESS_MEMORY
        return f"out of memory: {' '.join(message.split()[:30])} ... {advice}"
    reasons = reasons_of([line.strip() for line in message.splitlines()])
    return _plain(" ".join(reasons).removeprefix("- ")) or type(error).__name__


def _plain(text: str) -> str:
    """Return text in one line, without control characters; of thousands of digits the first ones.

    Errors quote what they were given, which may be of any length: of a long text the beginning, which names
    the file, and the end, which says what to do.
    """
    text = re.sub(r"(\d{40})\d{40,}", r"\1…", " ".join(text.split()))
    text = "".join(each if each.isprintable() or _is_byte(each) else ascii(each)[1:-1] for each in text)
    return text if len(text) <= _LONGEST else f"{text[:_BEGINNING]} … {text[_BEGINNING - _LONGEST :]}"


def _is_byte(character: str) -> bool:
    """Tell whether a character stands for a byte of a file's name that is not UTF-8."""
    return 0xDC80 <= ord(character) <= 0xDCFF


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory, of the machine or of a GPU, was too small."""
    return type(error).__name__ in ("OutOfMemoryError", "MemoryError") or "not enough memory" in str(error)


def warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format a warning for the user, in one line and without the source code that raised it."""
    return f"keyface: warning: {_plain(str(message))}\n"


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advertisements, and advice that does not apply here, from burying our own lines."""

    def useful(record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in LIGHTNING_NOISE)

    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addFilter(useful)
    with warnings.catch_warnings():
        for pattern in LIGHTNING_WARNINGS:
            warnings.filterwarnings("ignore", message=pattern)
        warnings.formatwarning = warning_line  # Lightning has put its own there
        try:
            yield
        finally:
            logger.removeFilter(useful)


def parsing_error(message: str) -> str:
    """Return the telling part of jsonargparse's message, which may be a page long, in one line."""
    lines = [line.strip() for line in message.splitlines()]
    if "Errors:" in lines:
        lines = [lines[0], *reasons_of(lines)]
    advice = f"{TRUST_VARIABLE}=package,... allows packages that you trust."
    return _plain(
        re.sub(r"Add the import path to import_path_allowlist.*?allow it\.", advice, " ".join(lines))
    )


def reasons_of(lines: list[str]) -> list[str]:
    """Return what follows "Errors:" in the lines of jsonargparse's message, or all of another's."""
    if "Errors:" not in lines:
        return lines
    reasons = [line for line in lines[lines.index("Errors:") + 1 :] if not line.startswith("Given value")]
    return [line for line in reasons if "NoneType" not in line]


def advise(message: str, parser: ArgumentParser) -> str:
    """Return jsonargparse's message in the words that people type, with the nearest name of a mistyped one.

    Args:
        message: Of an error in parsing.
        parser: The parser that found it, of the whole command line or of a subcommand.
    """
    if found := re.match(r"argument \w+: invalid choice: '(.*)' \(choose from (.*)\)$", message, re.DOTALL):
        known = tuple(re.findall(r"[\w-]+", found[2]))
        return f"no such command: {found[1]}{did_you_mean(found[1], known)}; there are {', '.join(known)}"
    if found := re.match(r"unrecognized arguments: (\S+)(.*)", message, re.DOTALL):
        word = found[1].partition("=")[0]
        known = tuple(option for action in _actions(parser) for option in action.option_strings)
        if not word.startswith("-"):
            return f"too many words: {found[1]}{found[2]}; a value of several words needs quotes"
        return f"no such option: {word}{did_you_mean(word, known)}; --help lists all"
    if found := re.match(r"the following arguments are required: (.*)", message):
        if re.search(r"\.(data|model)\b", found[1]):
            return f"missing: {_lacking(found[1])}"
        return f"missing: {', '.join(_typed_name(key, parser) for key in found[1].split(', '))}; see --help"
    if found := re.match(r"""Parser key "config": File does not exist: .(.*).$""", message):
        return f"-c/--config {found[1]}: no such file"
    if found := re.match(r'expected "[\w.-]*subcommand" to be one of \{(.*)\}, but', message):
        return f"say which: {', '.join(found[1].split(','))}"
    if found := re.match(r'Parser key "([\w.]+)":.*(?:Got value|Given value): (.*)$', message, re.DOTALL):
        action = _action(found[1], parser)
        if action is not None and "Expected a" in message and hasattr(action, "_typehint"):
            words = in_words(action._typehint)
            if "<class" not in words and "not allowed" not in message:
                advice = " (YAML takes off for false; write 'off')" if _unquoted_off(found[2], words) else ""
                return f"{_typed_name(found[1], parser)} is {found[2]!r}; it must be {words}{advice}"
    return message


def _unquoted_off(value: str, words: str) -> bool:
    """Tell whether a config file had `off` for one of several choices, without quotes."""
    return value == "False" and "off" in words.replace(",", "").split()


def _lacking(keys: str) -> str:
    """Return what to do where a training's config has no data or no model."""
    if ".model" in keys:
        return "a model; add the config of one, such as -c identity.yaml (`keyface fit --help`)"
    return "the data; add -c base.yaml (CelebA-HQ, configs/base.yaml), or --data and its options"


def _actions(parser: ArgumentParser) -> Iterator[Action]:
    """Yield the options of a parser and of its subcommands."""
    for action in parser._actions:
        yield action
        for inner in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            yield from _actions(inner)


def _action(key: str, parser: ArgumentParser) -> Action | None:
    """Return what a dotted key stands for: an option, "subcommand.option" or "subcommand.subcommand"."""
    for action in parser._actions:
        if action.dest == key:
            return action
        head, _, rest = key.partition(".")
        if isinstance(action.choices, dict) and head in action.choices:
            return _action(rest, action.choices[head])
    return None


def _typed_name(key: str, parser: ArgumentParser) -> str:
    """Return what people type for a key: `-o/--output`, `VIDEO`, `COMMAND`."""
    action = _action(key, parser)
    if action is None:
        return f"--{key}"
    return "/".join(action.option_strings) or str(action.metavar or action.dest)
