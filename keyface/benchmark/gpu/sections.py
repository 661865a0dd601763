"""All sections in the order of their worth, with what each takes on an H100 or H200."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from keyface.benchmark.gpu import clips, correctness, kernels
from keyface.benchmark.gpu.bench import Bench, Results
from keyface.benchmark.gpu.correctness import Mode
from keyface.benchmark.gpu.machine import machine
from keyface.benchmark.gpu.suite import marked_tests
from keyface.benchmark.gpu.training import training


@dataclass(frozen=True)
class Section:
    """Something to be found out.

    Attributes:
        name: In the results.
        run: Finds it out.
        seconds: About what it takes on such a GPU; given a `Bench`, from what was measured before.
        shares: Whether it uses `Bench.networks`; before any other they are freed.
    """

    name: str
    run: Callable[[Bench], Results]
    seconds: float | Callable[[Bench], float]
    shares: bool = False

    def predicted(self, bench: Bench, slowness: float) -> float:
        """Return the seconds it will take on a machine that is so many times slower than that."""
        return self.seconds(bench) if callable(self.seconds) else self.seconds * slowness


def _full(mode: Mode) -> Section:
    short = f"clip {mode}, short"

    def run(bench: Bench) -> Results:
        return clips.clip(bench, mode, clips.full_steps(bench, short) or clips.SHORT)

    def seconds(bench: Bench) -> float:
        steps = clips.full_steps(bench, short)
        found = bench.found.get(short, {})
        return clips.expected_seconds(found, steps) if steps else float("inf")

    return Section(f"clip {mode}, as many steps as fit", run, seconds, shares=True)


def _short(mode: Mode, seconds: float, frames: int | None = None) -> Section:
    run = partial(clips.clip, mode=mode, steps=clips.SHORT, frames=frames)
    return Section(f"clip {mode}, short", run, seconds, shares=True)


def _fast(mode: Mode) -> Section:
    run = partial(clips.clip, mode=mode, steps=clips.FAST, solver="dpmpp_2m")

    def seconds(bench: Bench) -> float:
        found = bench.found.get(f"clip {mode}, short", {})
        return clips.expected_seconds(found, clips.FAST) if "seconds" in found else float("inf")

    return Section(f"clip {mode}, {clips.FAST} steps of dpmpp_2m", run, seconds, shares=True)


SECTIONS: tuple[Section, ...] = (
    Section("machine", machine, 2),
    Section("correct: attention processors", correctness.attention_processors, 8),
    Section("correct: alignment under autocast", correctness.alignment, 5),
    _short("latent", 45),
    _short("tokens", 55),
    _fast("latent"),
    _fast("tokens"),
    Section("training: identity", partial(training, branch="identity"), 45),
    Section("training: direction", partial(training, branch="direction"), 50),
    Section("U-Net", kernels.unet, 60),
    Section("correct: smaller batches", correctness.smaller_batches, 25),
    Section("correct: small edits", correctness.small_edits, 60),
    _full("latent"),
    _full("tokens"),
    Section("tests", marked_tests, 60),
    _short("tokenflow", 60, frames=64),
    Section("autoencoder", kernels.autoencoder, 18),
    Section("attention kernels", kernels.attention_kernels, 30),
    Section("U-Net, compiled", kernels.compiled, 120),
    Section("training: identity, compiled", partial(training, branch="identity", compiled=True), 150),
)
