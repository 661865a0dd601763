"""What goes into a branch's checkpoints, and which of them it goes on from."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from keyface.lightning_modules.protocols import KnowsItsData
from keyface.lightning_modules.tuning.divergence import FiniteModule, damaged, nonfinite_parts
from keyface.lightning_modules.tuning.origin import fingerprint, refuse_other_origin
from keyface.weights.states import read_pickle


class ResumableModule(FiniteModule):
    """Checkpoints what is trained and its average alone, and goes on from its own branch's checkpoints."""

    def begin_saving(self) -> None:
        """Leave the frozen networks out of checkpoints; call it when all networks are there."""
        self.samples_seen = 0
        self._base = fingerprint(self.backbone.unet)
        save_only(self, self._is_saved, self.title)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember whose it is and how much was seen.

        Raises:
            FloatingPointError: Values are not finite: nothing is written, and the checkpoint before stays.
        """
        checkpoint["branch"] = self.title
        checkpoint["origin"] = self.origin()
        checkpoint["samples_seen"] = self.samples_seen
        checkpoint["rewinds"] = self.rewinds
        self.refuse_diverged(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting.

        Raises:
            ValueError: Another branch saved it, another base or other data made it, or it is of a run that
                diverged.
        """
        refuse_other_branch(checkpoint, self, self.title)
        refuse_other_origin(checkpoint, self.origin(), self.title)
        refuse_damaged(checkpoint, self.title)
        self.samples_seen = int(checkpoint["samples_seen"])
        self.rewinds = int(checkpoint.get("rewinds", 0))

    def check_checkpoint(self, checkpoint: Path, sharded: bool) -> None:
        """Refuse a checkpoint that training cannot go on from; the command line asks before it begins.

        Where processes share the weights, Lightning fills them past the hooks of `save_only`: what the
        checkpoint lacks would stay as it was made, or fail later in the optimizer's state. What a folder
        holds, the checkpoint of many processes, is left to torch, which names what it misses.

        Args:
            checkpoint: A file or folder.
            sharded: Whether processes will share the weights.

        Raises:
            ValueError: It is another branch's, of another base, of a run that diverged, its values have other
                names than those that this module saves, its optimizer is that of an unshared network, or it
                is in parts, which only processes that share the weights read.
        """
        if checkpoint.is_dir():
            if not sharded:
                raise ValueError(
                    f"{checkpoint} is a folder with the parts of a run whose processes shared the weights: "
                    "go on with ModelParallelStrategy, which also takes data_parallel_size: 1"
                )
            return
        content = read_pickle(checkpoint, "checkpoint", mapped=True)
        if not isinstance(content, dict) or not {"state_dict", "optimizer_states"} <= content.keys():
            raise ValueError(f"{checkpoint}: no checkpoint of a training")
        refuse_other_branch(content, self, self.title)
        refuse_other_origin(content, self.origin(), self.title)
        refuse_differing(set(self.state_dict()) ^ set(content["state_dict"]), self.title)
        refuse_damaged(content, self.title)
        if sharded:
            refuse_unshared(content["optimizer_states"], self)

    def origin(self) -> dict[str, str | None]:
        """Return what a run's checkpoints have in common: class, base and, while it trains, data."""
        fits = self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING
        data = getattr(self._trainer, "datamodule", None) if fits else None
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "backbone": self._base,
            "data": data.fingerprint() if isinstance(data, KnowsItsData) else None,
        }

    def _is_saved(self, name: str) -> bool:
        """Say whether a checkpoint holds this value: what is trained and its average, no frozen network."""
        if name.startswith("unet."):
            return bool(self.unet.get_parameter(name.removeprefix("unet.")).requires_grad)
        return name.startswith("ema.")


def save_only(module: nn.Module, is_saved: Callable[[str], bool], title: str) -> None:
    """Leave what need not be saved out of a module's state, and accept its absence when it is loaded.

    Args:
        module: Its `state_dict` and `load_state_dict` change.
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


def refuse_damaged(checkpoint: Mapping[str, Any], title: str) -> None:
    """Say that a checkpoint, of an earlier version, holds values that are not finite.

    Raises:
        ValueError: It does.
    """
    broken = nonfinite_parts(checkpoint)
    if broken:
        raise ValueError(damaged(title, ", ".join(broken)))


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
