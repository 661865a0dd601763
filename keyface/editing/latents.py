"""A clip's latents before and after the edit, read beside its frames and decoded."""

from collections.abc import Iterator

from torch import Tensor

from keyface.diffusion.checks import require_finite
from keyface.diffusion.protocol import EditableModel
from keyface.editing.frames import FrameStream
from keyface.editing.settings import EditSettings
from keyface.resume.batches import Batches


class ClipLatents:
    """What an edited clip is decoded from.

    Attributes:
        backbone: Autoencoder and schedule.
        settings: Of the edit.
        length: Number of frames T.
        keyframes: Frame numbers.
        clean: VAE latents (T, C, h, w).
        edited: (T, C, h, w), the edited latents, once they are.
        batches: In which frames are worked on.
    """

    def __init__(
        self,
        backbone: EditableModel,
        settings: EditSettings,
        keyframes: tuple[int, ...],
        clean: Tensor,
        edited: Tensor,
        batches: Batches,
    ) -> None:
        self.backbone, self.settings = backbone, settings
        self.length, self.keyframes = len(clean), keyframes
        self.clean, self.edited, self.batches = clean, edited, batches

    def read(self, frames: FrameStream) -> Iterator[tuple[int, Tensor]]:
        """Yield the frames in chunks (n, 3, H, W), each with the number of its first frame.

        Raises:
            ValueError: The stream gives another number of frames than it promised.
        """
        start = 0
        for images in frames.chunks(self.settings.chunk_size):
            if start + len(images) > self.length:
                raise ValueError(f"the clip gave more than the {self.length} frames that it promised")
            yield start, images
            start += len(images)
        if start != self.length:
            raise ValueError(f"the clip gave {start} frames instead of the {self.length} that it promised")

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents to frames (F, 3, H, W), clamped to [-1, 1], on the model's device.

        Raises:
            NotFiniteError: The autoencoder's images are not finite.
        """
        images = self.backbone.decode_latents(latents.to(self.backbone.device))
        require_finite(images, "the autoencoder's images")
        return images.clamp(-1.0, 1.0)
