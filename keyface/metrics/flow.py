"""Optical flow estimators for Eq. 7, and where an estimated flow cannot hold.

Clips that were rendered bring their exact flow. For others the flow is estimated on the source clip: on an
edited one it would follow the flicker that it is to reveal.
"""

from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from keyface.metrics.raft import Raft, RaftArchitecture
from keyface.metrics.temporal import warp
from keyface.opencv import load_opencv
from keyface.pictures import to_uint8

_DIS_MINIMUM = 16


class FlowEstimator(Protocol):
    """Says where each pixel of a frame is in the next one."""

    @property
    def name(self) -> str:
        """Name which estimator and which weights, for the report."""
        ...

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Estimate the flow such that first(p) ≈ second(p + flow(p)).

        Args:
            first: (B, 3, H, W) RGB in [-1, 1].
            second: (B, 3, H, W), the frames after them.

        Returns:
            (B, 2, H, W), displacement (x, y) in pixels, on the device of `first`.
        """
        ...


class Dis:
    """Dense inverse search [Kroeger et al. 2016] of OpenCV: a classical estimator that needs no weights.

    Args:
        preset: OpenCV's trade of accuracy for time.

    Raises:
        ImportError: OpenCV is not installed, or does not load.
    """

    def __init__(self, preset: Literal["ultrafast", "fast", "medium"] = "medium") -> None:
        cv2 = load_opencv("optical flow without RAFT's weights")
        self._cv2 = cv2
        self._preset = getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}")
        self.name = f"DIS ({preset}, OpenCV {cv2.__version__})"

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Estimate as `FlowEstimator` does, frame by frame on the CPU.

        Raises:
            ValueError: A side is shorter than 16 pixels.
        """
        if min(first.shape[-2:]) < _DIS_MINIMUM:
            raise ValueError(f"DIS needs sides of {_DIS_MINIMUM} pixels, the frames are {first.shape[-2:]}")
        # A new one each time: it would carry its last flow over to the next pair.
        flows = [
            self._cv2.DISOpticalFlow.create(self._preset).calc(*pair, None)
            for pair in zip(self._grey(first), self._grey(second), strict=True)
        ]
        return torch.stack([torch.from_numpy(flow).permute(2, 0, 1) for flow in flows]).to(first.device)

    def _grey(self, frames: Tensor) -> list[object]:
        return [
            self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2GRAY)
            for picture in to_uint8(frames).permute(0, 2, 3, 1).contiguous().numpy()
        ]


def flow_estimator(
    raft_weights: Path | None = None,
    architecture: RaftArchitecture = "raft_large",
    device: torch.device | str = "cpu",
) -> FlowEstimator:
    """Load RAFT where its weights are at hand, DIS where not; the result's `name` says which.

    Args:
        raft_weights: The state of torchvision's RAFT; keyface downloads nothing.
        architecture: Which RAFT it is of.
        device: Where RAFT runs.
    """
    return Dis() if raft_weights is None else Raft.from_file(raft_weights, architecture).to(device)


def occlusion(forward: Tensor, backward: Tensor, relative: float = 0.01, absolute: float = 0.5) -> Tensor:
    """Find pixels whose flow there and back does not lead home: hidden at t + 1, outside of it, or mistaken.

    The test of Sundaram, Brox and Keutzer [2010]: |f + b(p + f)|² > relative · (|f|² + |b|²) + absolute.

    Args:
        forward: (B, 2, H, W) in pixels, from t to t + 1.
        backward: (B, 2, H, W) in pixels, from t + 1 to t.
        relative: Share of the squared lengths that is forgiven.
        absolute: Squared pixels that are forgiven.

    Returns:
        (B, H, W) bool, true where the forward flow is not to be used.
    """
    returned, inside = warp(backward, forward)
    gap = (forward + returned).square().sum(dim=1)
    lengths = forward.square().sum(dim=1) + returned.square().sum(dim=1)
    return ~inside | (gap > relative * lengths + absolute)


def clip_flow(estimator: FlowEstimator, frames: Tensor, chunk: int = 4) -> tuple[Tensor, Tensor]:
    """Return the flow between neighbouring frames of a source clip, and where it holds.

    Args:
        estimator: Which flow.
        frames: (T, 3, H, W) in [-1, 1].
        chunk: Pairs in memory at once.

    Returns:
        (T - 1, 2, H, W) in pixels from each frame to the next, and (T - 1, H, W) bool, false where the pixel
        is hidden in the next frame: what `pair_errors` takes for its occlusion-masked variant.
    """
    forward, hidden = [frames.new_zeros(0, 2, *frames.shape[-2:])], [frames.new_zeros(0, *frames.shape[-2:])]
    for start in range(0, len(frames) - 1, chunk):
        pair = slice(start, min(start + chunk, len(frames) - 1))
        first, second = frames[pair], frames[pair.start + 1 : pair.stop + 1]
        there, back = estimator(first, second), estimator(second, first)
        forward.append(there)
        hidden.append(occlusion(there, back))
    return torch.cat(forward), ~torch.cat([mask.bool() for mask in hidden])
