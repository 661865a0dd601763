"""Edits of a batch's clips, by `lightning predict`."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from keyface.batch.options import clip_request
from keyface.batch.report import STATES
from keyface.claims.batch import Batch, Clip
from keyface.claims.claim import Claim, LeftError, make_once
from keyface.claims.process import Process
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.pipeline.request.request import VideoRequest
from keyface.plugins import edits
from keyface.progress import say
from keyface.resume.session import take_from_others


class ClipEditModule(LightningModule):
    """Edits claimed clips one by one, with networks that are read once.

    Processes share nothing but the folder of the outputs, so any strategy would do, and
    `keyface.batch.strategy.IndependentStrategy` is the one that lets processes end at any time.

    Args:
        outputs: Folder of a batch's outputs, which `keyface batch` has begun.

    Example:
        `lightning predict -c configs/batch.yaml --data.outputs outputs --model.outputs outputs`
    """

    def __init__(self, outputs: str | Path) -> None:
        super().__init__()
        self.outputs = Path(outputs)
        self._resources = ExitStack()

    def setup(self, stage: str) -> None:
        """Read what is to be edited."""
        self.batch = Batch.load(self.outputs)
        self.process = Process.current()

    def on_predict_start(self) -> None:
        """Read the networks."""
        networks = dict(self.batch.networks)
        categories = networks.pop("categories", None)
        self._cache = networks.pop("cache", None)
        self._resources.enter_context(edits.with_file(categories))
        self.pipe = FaceEditPipeline.from_pretrained(
            networks.pop("weights"), device=self.device, say=say, **networks
        )

    def on_predict_batch_end(
        self, outputs: dict[str, Any] | None, batch: Claim, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Tell the loggers how far the whole batch is, of which this process does a part."""
        if not self.trainer.loggers:
            return
        counts = Counter(self.batch.ledger().states().values())
        for logger in self.trainer.loggers:
            logger.log_metrics({f"batch/{state}": float(counts[state]) for state in STATES}, step=batch_idx)

    def on_predict_end(self) -> None:
        """Forget the categories of the batch."""
        self._resources.close()

    def predict_step(self, batch: Claim, batch_idx: int) -> dict[str, Any]:
        """Edit one clip; what is wrong with it is noted and does not stop the others.

        Returns:
            The clip's key and how the claim ended: done, failed, left, cancelled.
        """
        clip, began = self.batch.by_key[batch.key], time.perf_counter()
        place = f"{clip.output} ({self.process.host} {self.process.pid})"
        try:
            frames = self._edit(clip, batch)
        except LeftError as error:
            cancelled = str(error) == "cancelled"
            if cancelled:
                batch.cancel()
            else:
                batch.release()
            say(f"{place}: {error}")
            return {"key": clip.key, "end": "cancelled" if cancelled else "left"}
        except KeyboardInterrupt:
            batch.release()
            self.trainer.should_stop = True
            say(f"{place}: stopped; the same command goes on")
            return {"key": clip.key, "end": "left"}
        except Exception as error:
            if batch.reason is not None:  # what went wrong is that somebody else works in the folder
                batch.release()
                return {"key": clip.key, "end": "left"}
            line = told(error)
            batch.fail(line)
            say(f"{place}: failed: {line}")
            return {"key": clip.key, "end": "failed"}
        seconds = time.perf_counter() - began
        facts = {"seconds": seconds, "frames": frames, **self.process.facts(), "ended": time.time()}
        if batch.finish(facts):
            say(f"{place}: done, {frames} frames in {seconds:.1f} s")
        return {"key": clip.key, "end": "done"}

    def _edit(self, clip: Clip, claim: Claim) -> int:
        """Edit a clip, or go on with what an earlier process has done of it; return its frames."""
        output, begun = self.outputs / clip.output, self.batch.begun(clip.key)
        ours = begun.exists()
        if claim.taken_over:
            take_from_others(output.with_name(f"{output.name}.state"))
        request = clip_request(
            Path(clip.video),
            output,
            clip.options,
            self.outputs,
            overwrite=True,
            restart=not ours,
            cache=None if self._cache is None else Path(self._cache),
        )
        if ours and output.exists() and request.record.exists():  # it ended before it could say so
            return len(request.reader)
        if not ours:
            request.record.unlink(missing_ok=True)  # the record is written last, so it tells what is done
            make_once(begun)
        return self._run(request, claim)

    def _run(self, request: VideoRequest, claim: Claim) -> int:
        def progress(stage: str, done: int, total: int) -> None:
            claim.require()
            if self.trainer.received_sigterm:
                raise KeyboardInterrupt

        self.pipe.run(request, progress)
        return len(request.reader)


def told(error: Exception) -> str:
    """Return an error in one line; a KeyError without the quotes that `str` adds."""
    text = error.args[0] if isinstance(error, LookupError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__
