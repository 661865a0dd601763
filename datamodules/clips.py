"""Clips of a batch to predict on: a batch of `lightning predict` is one claimed clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule

from keyface.claims.batch import Batch
from keyface.claims.claim import Claim
from keyface.claims.ledger import HEARTBEAT, PATIENCE, Ledger
from keyface.claims.state import MOST_DEATHS, MOST_FAILURES


class ClipsDataModule(LightningDataModule):
    """Gives the clips of a batch one by one, each to whichever process asks first.

    Args:
        outputs: Folder of a batch's outputs, which `keyface batch` has begun.
        heartbeat: Seconds between two renewals of a claim.
        patience: Seconds without a renewal after which a process on another machine is taken for dead.

    Example:
        >>> data = ClipsDataModule("outputs")  # doctest: +SKIP
    """

    def __init__(self, outputs: str | Path, heartbeat: float = HEARTBEAT, patience: float = PATIENCE) -> None:
        super().__init__()
        self.outputs, self.heartbeat, self.patience = Path(outputs), heartbeat, patience

    def setup(self, stage: str | None = None) -> None:
        """Read which clips there are."""
        self.ledger = Batch.load(self.outputs).ledger(self.heartbeat, self.patience)

    def transfer_batch_to_device(self, batch: Claim, device: torch.device, dataloader_idx: int) -> Claim:
        """Return the claim as it is."""
        return batch

    def predict_dataloader(self) -> ClaimedClips:
        """Return the clips that this process gets."""

        def stopping() -> bool:
            return self.trainer is not None and (self.trainer.received_sigterm or self.trainer.should_stop)

        return ClaimedClips(self.ledger, stopping)


class ClaimedClips:
    """Claims a clip when the next one is asked for, not before, and until all are edited.

    Its length is the most tries that there can be: Lightning would fetch one clip too early from what has
    none, and so keep it from another process.

    Args:
        ledger: Of the claims.
        stopping: Says whether no more are wanted.
    """

    def __init__(self, ledger: Ledger, stopping: Callable[[], bool]) -> None:
        self.ledger, self.stopping = ledger, stopping

    def __len__(self) -> int:
        return max(len(self.ledger.keys) * MOST_FAILURES * MOST_DEATHS, 1)

    def __iter__(self) -> Iterator[Claim]:
        while (claim := self.ledger.claim(self.stopping)) is not None:
            yield claim
