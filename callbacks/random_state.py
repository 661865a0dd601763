"""Random numbers that go on where a checkpoint left them."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class RandomState(Callback):
    """Keeps the states of torch's generators in checkpoints.

    A run that is resumed then draws the noise that it would have drawn if it had never been stopped. For one
    process on one device.

    Example:
        `{class_path: keyface.callbacks.random_state.RandomState}` among a trainer's callbacks
    """

    def __init__(self) -> None:
        self._resumed: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the generators as they are."""
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state()
        return states

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until the first batch: what comes before it may draw numbers."""
        self._resumed = dict(state_dict)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the states of the checkpoint, once."""
        if "cpu" in self._resumed:
            torch.set_rng_state(self._resumed["cpu"].cpu())
        if "cuda" in self._resumed and torch.cuda.is_available():
            torch.cuda.set_rng_state(self._resumed["cuda"].cpu())
        self._resumed = {}
