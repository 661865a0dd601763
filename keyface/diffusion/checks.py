"""Refuse weights that do not fit a network, and numbers that are not finite."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

_NAMED = 3
"""How many of many names a message gives."""


class NotFiniteError(ValueError):
    """Something that a network computed holds NaN or infinity."""


def require_finite(values: Tensor, what: str) -> None:
    """Refuse a result that no later step could mend.

    Args:
        values: Of any shape and device.
        what: What they are, for the message.

    Raises:
        NotFiniteError: One of them is NaN or infinite.
    """
    if not _finite(values):
        raise NotFiniteError(
            f"{what} hold NaN or infinity; use less guidance, other weights, or single precision"
        )


def require_finite_weights(weights: Mapping[str, Tensor], place: Path) -> None:
    """Refuse weights of which a training that diverged, or a damaged file, left NaN or infinity.

    Args:
        weights: By name.
        place: Their file or folder, for the message.

    Raises:
        ValueError: Some are not finite.
    """
    spoiled = [name for name, each in weights.items() if not _finite(each)]
    if spoiled:
        raise ValueError(
            f"{place}: {len(spoiled)} of {len(weights)} weights hold NaN or infinity: {_some(spoiled)}; "
            "it is damaged or its training diverged, use another one"
        )


def require_same_weights(missing: Iterable[str], foreign: Iterable[str], place: Path, network: str) -> None:
    """Refuse weights that are not those of a network, which would keep random or untuned ones instead.

    Args:
        missing: Names that the network has and the file lacks.
        foreign: Names that the file has and the network lacks.
        place: The file or folder, for the message.
        network: What the network is called in the message.

    Raises:
        ValueError: There are such names.
    """
    lacking, extra = sorted(missing), sorted(foreign)
    told = [f"{len(lacking)} of its weights are missing ({_some(lacking)})"] if lacking else []
    told += [f"{len(extra)} are foreign to it ({_some(extra)})"] if extra else []
    if told:
        raise ValueError(f"{place}: not the weights of this {network}: {'; '.join(told)}")


def require_same_shapes(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], place: Path) -> None:
    """Refuse weights of other shapes than a network's of the same names.

    Raises:
        ValueError: A shape differs.
    """
    other = [name for name, each in wanted.items() if weights[name].shape != each.shape]
    if other:
        shapes = f"{tuple(weights[other[0]].shape)} instead of {tuple(wanted[other[0]].shape)}"
        raise ValueError(
            f"{place}: {len(other)} of {len(wanted)} weights have the shapes of another network: "
            f"{other[0]} is {shapes}"
        )


def file_of(folder: Path) -> Path:
    """Return the one safetensors file of a folder; the folder itself where there are several."""
    files = sorted(folder.glob("*.safetensors"))
    return files[0] if len(files) == 1 else folder


def _finite(values: Tensor) -> bool:
    """Read the values once and copy nothing, unlike `isfinite().all()`: a tenth of the time for a U-Net."""
    return values.numel() == 0 or all(bool(each.isfinite()) for each in values.aminmax())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
