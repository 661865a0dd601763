"""Steps of a clip's frames from one level to the next, with the solver that the settings name."""

from collections.abc import Sequence

from torch import Tensor

from keyface.diffusion.checks import require_finite
from keyface.diffusion.solvers import looks_back, solver_step
from keyface.editing.clip import Clip


class Stepper:
    """Takes frames one level down, in any order and any batches.

    What a frame's next step needs of this one is in the clip's files, and each level reads and writes
    different ones: a step that was cut short can be done again, also by another process.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.grid = clip.backbone.grid(clip.settings.steps)

    def step(self, frames: Sequence[int], latents: Tensor, output: Tensor, level: int, begun: int) -> None:
        """Write the frames' latents at `level` − 1.

        Args:
            frames: Their numbers.
            latents: (F, C, h, w), theirs at `level`.
            output: (F, C, h, w), the network's, guided.
            level: Where they are.
            begun: The level of their first step, which is of first order with any solver.

        Raises:
            NotFiniteError: The new latents are not finite; they are not written.
        """
        rows = list(frames)
        solver, before = self.clip.settings.solver, None
        if looks_back(solver) and level < begun:
            before = self.clip.originals(level + 1)[rows].to(latents.device)
        cleaner, original = solver_step(solver, self.grid, latents, output, level, before)
        if original is not None:
            self.clip.originals(level)[rows] = original.cpu()
        timestep = self.grid.timestep(level)
        require_finite(cleaner, f"latents of frames {rows[0]} to {rows[-1]} after timestep {timestep}")
        self.clip.at_level(level - 1)[rows] = cleaner.cpu()
