"""What goes into a branch's checkpoints."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_leaves

PLAIN = (str, int, float, bool, list, dict, type(None))


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that can be read back without running code: texts, numbers, lists, dictionaries.

    Frozen dataclasses, which hold settings, become dictionaries; networks and functions are left out.
    """
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Path):
            kept[name] = str(value)
        elif isinstance(value, PLAIN):
            kept[name] = value
        elif is_dataclass(value) and not isinstance(value, type) and _is_plain(_fields(value)):
            kept[name] = asdict(value)
    return kept


def _fields(value: Any) -> dict[str, Any]:
    # Unlike `asdict` this copies nothing: a field may be a whole network.
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _is_plain(fields: dict[str, Any]) -> bool:
    return all(
        isinstance(value, PLAIN) or (is_dataclass(value) and _is_plain(_fields(value)))
        for value in fields.values()
    )


def arguments_of(instance: object) -> dict[str, Any]:
    """What an object was made with, as far as it keeps it in attributes of the arguments' names."""
    names = inspect.signature(type(instance)).parameters
    return {name: getattr(instance, name) for name in names if hasattr(instance, name)}


def save_only(module: nn.Module, is_saved: Callable[[str], bool], title: str) -> None:
    """Leave what need not be saved out of a module's state, and accept its absence when it is loaded.

    Args:
        module: Its ``state_dict`` and ``load_state_dict`` change.
        is_saved: Says it of a value's name.
        title: Names the module in errors.
    """

    def leave_out(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
        for name in [name for name in state if not is_saved(name.removeprefix(prefix))]:
            del state[name]

    def refuse_others(module: nn.Module, found: Any) -> None:
        refuse_differing([*filter(is_saved, found.missing_keys), *found.unexpected_keys], title)
        found.missing_keys.clear()

    untyped: Any = module  # torch leaves these two methods without types
    untyped.register_state_dict_post_hook(leave_out)
    untyped.register_load_state_dict_post_hook(refuse_others)


def nonfinite_parts(checkpoint: Mapping[str, Any]) -> list[str]:
    """Name the parts of a checkpoint that hold NaN or infinity: weights, their average, optimizer state."""
    weights: Mapping[str, Any] = checkpoint["state_dict"]
    parts = {
        "weights": [value for name, value in weights.items() if not name.startswith("ema.")],
        "their average": [value for name, value in weights.items() if name.startswith("ema.")],
        "optimizer state": checkpoint.get("optimizer_states", []),
    }
    return [name for name, values in parts.items() if not all(map(_is_finite, tree_leaves(values)))]


def _is_finite(value: object) -> bool:
    if isinstance(value, DTensor):
        value = value.to_local()
    return not isinstance(value, Tensor) or bool(torch.isfinite(value).all())


def last_saved(trainer: Trainer) -> Path | None:
    """The newest checkpoint that a run's callbacks have saved; None where there is none."""
    # Lightning notes a path before it writes there.
    paths = [
        Path(path)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint)
        for path in (*callback.best_k_models, callback.best_model_path, callback.last_model_path)
        if path and Path(path).exists()
    ]
    return max(paths, key=lambda path: (path.stat().st_mtime, path.stem == "last"), default=None)


def refuse_other_branch(checkpoint: Mapping[str, Any], module: nn.Module, title: str) -> None:
    """Say that a checkpoint is not this branch's: both have the same networks, so the weights would fit.

    Checkpoints of earlier versions do not say whose they are; the names of their hyper-parameters do, as
    each branch has some that the other lacks.

    Args:
        checkpoint: Its content.
        module: The branch that is to go on.
        title: Names it.

    Raises:
        ValueError: It is another's.
    """
    whose = checkpoint.get("branch")
    if whose is None:
        foreign = set(checkpoint.get("hyper_parameters", {})) - set(
            inspect.signature(type(module)).parameters
        )
        whose = f"another module, with {min(foreign)}" if foreign else title
        if not foreign:
            rank_zero_warn(
                f"{title}: the checkpoint is of an earlier version and names no branch; its settings "
                "are those of this branch, so it is taken"
            )
    if whose != title:
        raise ValueError(
            f"{title}: the checkpoint is that of {whose}; name one of this branch by --ckpt_path, or the "
            "experiment that has it by --experiment"
        )


def refuse_unshared(optimizer_states: Sequence[Mapping[str, Any]], module: nn.Module) -> None:
    """Say that processes which share a network cannot go on with the optimizer of one that was not shared.

    Lightning takes the numbers in the optimizer's state for places among all of the module's parameters, as
    they are where weights are shared. Elsewhere they count only those in training, and would be mixed up.

    Args:
        optimizer_states: Of the checkpoint.
        module: Which of its parameters are in training decides.

    Raises:
        ValueError: The numbers are others.
    """
    shared = [place for place, parameter in enumerate(module.parameters()) if parameter.requires_grad]
    for state in optimizer_states:
        if sorted(place for group in state["param_groups"] for place in group["params"]) != shared:
            raise ValueError(
                "the checkpoint comes from a run whose processes did not share the weights: go on with the "
                "strategy that made it (such as auto or ddp), or begin anew with ModelParallelStrategy"
            )


def refuse_differing(names: Collection[str], title: str) -> None:
    """Say that a checkpoint does not fit a module.

    Args:
        names: Of values that one of them has and the other has not.
        title: Names the module.

    Raises:
        ValueError: There are any.
    """
    if names:
        raise ValueError(
            f"{title}: the checkpoint was made with other settings of tuning ({len(names)} names "
            f"differ, such as {min(names)}); use the config of the run that made it"
        )
