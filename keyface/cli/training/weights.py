"""Weights that a training config names: all that are missing are told at once, before any is read."""

from collections.abc import Iterator, Mapping
from typing import Any

from jsonargparse import Namespace

from keyface.models.recognizers import FINDER, READERS


def named_weights(settings: Namespace) -> Iterator[str]:
    """Yield what the arguments of model and callbacks say that may be a name of weights.

    Args:
        settings: Of a subcommand, parsed, with nothing made of it yet.
    """
    callbacks = settings.trainer.callbacks
    for part in (settings.get("model"), *(callbacks if isinstance(callbacks, list) else [callbacks])):
        arguments = part.get("init_args") if isinstance(part, Namespace) else None
        if arguments is not None:
            yield from _texts(arguments)
            if arguments.get("recognizers"):  # of whole frames, in which a face must be found first
                yield from (FINDER for name in _texts(arguments.recognizers) if name in READERS)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Namespace | Mapping):
        for each in vars(value).values() if isinstance(value, Namespace) else value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
