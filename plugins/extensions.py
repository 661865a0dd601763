"""Code that an edit category may bring beside its data.

Each is a plain function of a `Category`'s field, called at one place only:

=========  ==========================================================  ================================
field      called for                                                  by
=========  ==========================================================  ================================
`mask`     where the edit may change each picture                      `masks.free_masks`
`judge`    whether the edit is there                                   `keyface.models.judges.successes`
`loss`     a further term of Eq. 6, beside content and direction       `DirectionModule`
=========  ==========================================================  ================================
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Regions = Callable[[Collection[str]], "Tensor"]
"""Gives the masks (n, 1, s, s) in [0, 1] of named regions (`keyface.celeba.REGIONS`) in the pictures at hand;
ones everywhere for no name, and where nothing finds regions."""


class Mask(Protocol):
    """Say where an edit may change faces, more closely than regions do."""

    def __call__(self, images: Tensor, regions: Regions, /) -> Tensor:
        """Return masks (n, 1, s, s) in [0, 1].

        Args:
            images: (n, 3, s, s) in [-1, 1], the faces before the edit.
            regions: Finds regions in these images.
        """
        ...


class Judge(Protocol):
    """Say whether faces look as after an edit; what ε2 was trained against (`Category.loss`) is no judge."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return (n,) in [0, 1] for images (n, 3, s, s) in [-1, 1]: 1 is a success, 0 is none."""
        ...


class Loss(Protocol):
    """Say what ε2 shall learn of an edit beside Eq. 6."""

    def __call__(self, edited: Tensor, source: Tensor, /) -> Tensor:
        """Return (n,), from 0 on, weighted against Eq. 6: it is added as it is.

        Args:
            edited: (n, 3, s, s), about [-1, 1], with gradient.
            source: (n, 3, s, s) in [-1, 1], the same faces before the edit.
        """
        ...


@dataclass(frozen=True)
class Lazily:
    """A function that is imported when it is first called, so that lists of categories need no torch.

    Attributes:
        place: "package.module:function".

    Example:
        >>> Lazily("math:hypot")(3, 4)
        5.0
    """

    place: str

    @property
    def function(self) -> Callable[..., Any]:
        """Import the module and return the function."""
        module, _, name = self.place.partition(":")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function

    def __call__(self, *values: Any) -> Any:
        """Call the function."""
        return self.function(*values)


def place_of(code: Callable[..., Any]) -> str:
    """Return where a category's code is from, "module:name"."""
    if isinstance(code, Lazily):
        return code.place
    named = code if hasattr(code, "__qualname__") else type(code)
    return f"{named.__module__}:{named.__qualname__}"


def version_of(judge: Judge) -> str:
    """Return what changes whenever a judge does, so that no kept score outlives it.

    That is its attribute `version` where it has one, as a judge with weights should. Otherwise it is made of
    the source of the module that it stands in.
    """
    code = judge.function if isinstance(judge, Lazily) else judge
    given = getattr(code, "version", None)
    if given is not None:
        return str(given)
    named = code if hasattr(code, "__qualname__") else type(code)
    module = inspect.getmodule(named)
    try:
        text = inspect.getsource(module if module is not None else named)
    except (OSError, TypeError):
        text = ""  # typed at a prompt: its place is all that is known
    return f"{place_of(judge)} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
