"""Predictions that are written into shards."""

from types import SimpleNamespace
from typing import Any

import pytest

from keyface.callbacks.annotate import AnnotateShards


@pytest.mark.parametrize("received", [False, True])
def test_after_sigterm_no_further_batch_begins(received: bool) -> None:
    """Lightning notes the signal and goes on; captions of a whole dataset would take hours more."""
    kept: list[object] = []
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(keep=kept.append), received_sigterm=received)
    module: Any = None
    if received:
        with pytest.raises(KeyboardInterrupt):
            AnnotateShards().on_predict_batch_end(trainer, module, "results", None, 0)
    else:
        AnnotateShards().on_predict_batch_end(trainer, module, "results", None, 0)
    assert kept == ["results"], "what is done is kept"
