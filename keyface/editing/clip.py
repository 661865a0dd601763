"""A clip as latents: encoded, inverted, matched to its keyframes."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from torch import Tensor

from keyface.diffusion.additions.control import Control
from keyface.diffusion.checks import require_finite
from keyface.diffusion.inversion import invert
from keyface.diffusion.precision import is_compiled
from keyface.diffusion.protocol import EditableModel, Network
from keyface.editing.attention import processors
from keyface.editing.clip_files import ClipShape, clip_layout
from keyface.editing.correspondence import Correspondences, TokenRecorder
from keyface.editing.frames import FrameStream
from keyface.editing.keyframes import (
    KeyframeChoice,
    Windows,
    joint_windows,
    neighbours,
    separate_groups,
)
from keyface.editing.latents import ClipLatents
from keyface.editing.strategies.strategy import Strategy
from keyface.resume.batches import Advance, Batches
from keyface.resume.journal import Journal
from keyface.resume.memory_maps import MemoryMaps

ControlOf = Callable[[Sequence[int]], Control | None]
"""Frame numbers → the ControlNet with their control images."""


def uncontrolled(_: Sequence[int]) -> None:
    """Say that nothing controls these frames."""


class Clip(ClipLatents):
    """Latents of a clip in memory-mapped files, and what fills them; `open` makes one.

    Attributes:
        inverter: The network that inverts.
        strategy: How the edit reaches every frame.
        others: All frame numbers but the keyframes'.
        sources: Frames whose inverted latents are kept at every level.
        trajectory: (S + 1, number of sources, C, h, w), inverted latents by level, up to the start level S.
        reconstructed: (T, C, h, w), inverted and denoised again (`keyface.editing.gate`).
        keyframe_images: (K, 3, H, W), the original keyframes.
        correspondences: Of every frame with the keyframes it follows.
        maps: The files.
        control: Frame numbers → the ControlNet with their control images; None where nothing controls.

    Args:
        choice: Keyframes that were chosen already, for a part of a longer clip; None draws them.
    """

    def __init__(
        self,
        backbone: EditableModel,
        inverter: Network,
        strategy: Strategy,
        shape: ClipShape,
        maps: MemoryMaps,
        journal: Journal | None,
        control: ControlOf = uncontrolled,
        choice: KeyframeChoice | None = None,
    ) -> None:
        settings = strategy.settings
        files = self._files = maps.allocate(clip_layout(shape, strategy))
        self._even_levels, self._odd_levels = files["even-levels"], files["odd-levels"]
        super().__init__(
            backbone,
            settings,
            shape.keyframes,
            files["clean"],
            files.get("edited", self._even_levels),
            Batches(settings.chunk_size, journal, after=maps.release, even=is_compiled(inverter)),
        )
        self.control, self._choice = control, choice
        self.inverter, self.strategy, self.maps = inverter, strategy, maps
        self.sources, self.others = shape.sources, shape.others
        self._matched_levels = shape.matched_levels
        self._source_row = {frame: row for row, frame in enumerate(shape.sources)}
        self._other_row = {frame: row for row, frame in enumerate(shape.others)}
        self.reconstructed = files["reconstructed"]
        self.trajectory, self._inverted_others = files["inverted-sources"], files.get("inverted-others")
        self._even_originals, self._odd_originals = files.get("even-originals"), files.get("odd-originals")
        self.keyframe_images = files["keyframes"]
        locality = settings.propagation.locality
        self.correspondences = Correspondences(self.keyframes, shape.latent[1:], locality, files)

    @classmethod
    def open(
        cls,
        backbone: EditableModel,
        inverter: Network,
        strategy: Strategy,
        frames: FrameStream,
        maps: MemoryMaps,
        journal: Journal | None = None,
        control: ControlOf = uncontrolled,
        choice: KeyframeChoice | None = None,
    ) -> "Clip":
        """Make the files of a clip, or take those that an earlier process left together with its journal.

        Args:
            backbone: Autoencoder and schedule.
            inverter: The U-Net that inverts.
            strategy: How the edit reaches every frame.
            frames: Of the clip.
            maps: Where the files are.
            journal: What an earlier process did; None for a clip that is not to survive this process.
            control: See the class.
            choice: See the class.

        Raises:
            ValueError: The frames do not tile into whole tokens at every resolution, the disk is too small,
                or files are missing of which the journal says that something is in them.
        """
        shape = ClipShape.of(backbone, inverter, strategy, frames, choice)
        if journal is not None and journal.begun:
            maps.require(clip_layout(shape, strategy))
        return cls(backbone, inverter, strategy, shape, maps, journal, control, choice)

    def windows(self, size: int) -> Windows:
        """Return the keyframes in the groups that run through ε2 together.

        Args:
            size: Keyframes of a group, besides the anchors.
        """
        if not self.settings.joint_attention:
            return separate_groups(self.keyframes, size)
        if self._choice is not None:
            return self._choice.windows(size)
        return joint_windows(self.keyframes, size, self.settings.anchors)

    def at_level(self, level: int) -> Tensor:
        """Return what is being edited at a level, (T, C, h, w).

        Neighbouring levels lie in different files, so that a step that was cut short can be done again.
        `at_level(start level)` holds the sources after inversion, `at_level(0)` what was denoised.
        """
        return self._odd_levels if level % 2 else self._even_levels

    def unedited_files(self) -> list[str]:
        """Return the names of the files in which there is something before the edit itself begins."""
        begun = "even-levels" if self.settings.start_level % 2 == 0 else "odd-levels"
        later = {"even-levels", "odd-levels", "edited", "even-originals", "odd-originals"} - {begun}
        return [name for name in self._files if name not in later]

    def originals(self, level: int) -> Tensor:
        """Return the clean latents (T, C, h, w) as predicted at a level, for solvers that look back."""
        originals = self._odd_originals if level % 2 else self._even_originals
        assert originals is not None
        return originals

    def inverted(self, frames: Sequence[int], level: int) -> Tensor:
        """Return inverted latents (F, C, h, w) at a level, on the device.

        Args:
            frames: Sources, or other frames: not both.
            level: Any for sources; for other frames `Strategy.every_frame_from`, the only one that is kept.
        """
        if frames[0] in self._source_row:
            rows = [self._source_row[frame] for frame in frames]
            return self.trajectory[level, rows].to(self.backbone.device)
        assert self._inverted_others is not None
        assert level == self.strategy.every_frame_from
        return self._inverted_others[[self._other_row[frame] for frame in frames]].to(self.backbone.device)

    def encode(self, frames: FrameStream, advance: Advance) -> None:
        """Encode every frame: T encoder forwards.

        Raises:
            ValueError: The stream gives another number of frames than it promised.
        """
        row = {frame: i for i, frame in enumerate(self.keyframes)}
        known = self.batches.journal.count("encode")
        for start, images in self.read(frames):
            end = start + len(images)
            if end > known:
                self._encode(start, images)
                for frame in range(start, end):
                    if frame in row:
                        self.keyframe_images[row[frame]] = images[frame - start].float().cpu()
                self.maps.release()
                self.batches.journal.write(encode=end)
            advance(len(images))

    def _encode(self, start: int, images: Tensor) -> None:
        def work(part: Sequence[int]) -> None:
            latents = self.backbone.encode_images(images[part[0] - start : part[-1] + 1 - start])
            require_finite(latents, f"the autoencoder's latents of frames {part[0]} to {part[-1]}")
            self.clean[part[0] : part[-1] + 1] = latents.cpu()

        self.batches.each(range(start, start + len(images)), work)

    def invert(self, text: Tensor, advance: Advance) -> None:
        """Invert with the source prompt, and match tokens.

        With k fixed-point iterations and start level S, the sources take k · S + 3 forwards each. The other
        frames are inverted only as far as they are needed, to the last level of matching or to
        `Strategy.every_frame_from`, by wider steps where `propagation.invert_others` says so. Where their
        latents are not needed at all (`Strategy.inverts_others`), tokens are compared
        in a pass of its own, which visits the levels of matching alone, one forward each, in keyframes as in
        the frames that follow them: frames that are alike have tokens that are alike.
        """
        settings, levels = self.settings, self._matched_levels
        every_frame_from = self.strategy.every_frame_from
        recorder = TokenRecorder(levels)
        matching = (
            processors(self.inverter, self.backbone.matched_layers, recorder.make)
            if levels
            else nullcontext()
        )

        def run(part: Sequence[int], visited: Sequence[int] | None = None) -> Tensor:
            """Invert exactly through levels or, where none are named, plainly through those of matching."""
            latents = self.clean[list(part)].to(self.backbone.device)
            trajectory = invert(
                self.inverter,
                self.backbone.grid(settings.steps),
                latents,
                text,
                settings.steps,
                settings.fixed_point_iterations if visited is not None else 0,
                levels=levels if visited is None else visited,
                before_level=recorder.before_level,
                control=self.control(part),
            )
            require_finite(trajectory, f"inverted latents of frames {part[0]} to {part[-1]}")
            return trajectory

        def sources(part: Sequence[int]) -> None:
            trajectory = run(part, range(1, settings.start_level + 1))
            self.trajectory[:, [self._source_row[f] for f in part]] = trajectory.cpu()
            self.at_level(settings.start_level)[list(part)] = trajectory[-1].cpu()
            if levels and not self.strategy.inverts_others:
                run(part)
            self.correspondences.put_descriptors(part, recorder.descriptors())

        def others(part: Sequence[int]) -> None:
            if self._inverted_others is not None:
                stride, last = settings.propagation.invert_others, max(*levels, every_frame_from)
                visited = sorted({*range(stride, last + 1, stride), *levels, every_frame_from})
                trajectory = run(part, visited)
                rows = [self._other_row[f] for f in part]
                self._inverted_others[rows] = trajectory[visited.index(every_frame_from) + 1].cpu()
            else:
                run(part)
            pairs = [(n.before, n.after) for n in (neighbours(f, self.keyframes) for f in part)]
            self.correspondences.put_fields(part, self.correspondences.match(pairs, recorder.descriptors()))

        with matching:
            self.batches.each(self.sources, sources, advance, "invert_sources")
            if len(self.sources) < self.length:
                self.batches.each(self.others, others, advance, "invert_others")
