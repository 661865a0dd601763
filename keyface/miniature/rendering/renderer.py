"""Faces to pictures, with the exact truth about each pixel.

Positions in pixels count from the middle of the first pixel, as arrays are indexed: the top left pixel's
middle is (0, 0). Pictures of one scene in several sizes show the same thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from keyface.miniature.population.parameters import Faces
from keyface.miniature.rendering.geometry import derive_geometry
from keyface.miniature.rendering.head import (
    head_profile,
    head_to_image,
    pose_of,
    surface_to_head,
    unwarp_nose,
)
from keyface.miniature.rendering.motion import render_flow, surface_map
from keyface.miniature.rendering.scene import paint

__all__ = ["Rendering", "locate_landmarks", "render", "render_flow", "render_images"]


@dataclass(frozen=True)
class Rendering:
    """Pictures and what is known about them.

    Attributes:
        image: (B, 3, H, W) float32 in [-1, 1].
        mask: (B, H, W) uint8, ids of `keyface.celeba.REGIONS`.
        landmarks: (B, 5, 2) float32 as (x, y) in pixels: left eye, right eye, nose tip, left and right corner
            of the mouth, the viewer's left first (ArcFace's order).
        surface: (B, 3, H, W) float32: two coordinates that move with the pixel, and their layer.
    """

    image: Tensor
    mask: Tensor
    landmarks: Tensor
    surface: Tensor


@torch.no_grad()
def render(faces: Faces, size: int = 128) -> Rendering:
    """Render pictures of size × size with all truth."""
    scene = paint(faces.identity.values, faces.attributes.values, faces.nuisance.values, size, truth=True)
    assert scene.canvas.classes is not None
    return Rendering(
        image=_to_range(scene.canvas.picture),
        mask=scene.canvas.classes[:, 0],
        landmarks=locate_landmarks(faces, size),
        surface=surface_map(scene, size),
    )


@torch.no_grad()
def render_images(faces: Faces, size: int = 128, compiled: bool = False) -> Tensor:
    """Render pictures only, (B, 3, size, size) in [-1, 1].

    Args:
        faces: The faces; batches of 16 to 32 are fastest on a processor.
        size: Rows and columns.
        compiled: Uses `torch.compile`, several times faster after a minute of compiling for each batch size.
    """
    picture = _compiled_picture() if compiled else _picture
    return picture(faces.identity.values, faces.attributes.values, faces.nuisance.values, size)


@torch.no_grad()
def locate_landmarks(faces: Faces, size: int = 128) -> Tensor:
    """Return the five landmarks without rendering, (B, 5, 2) in pixels, as in `Rendering`."""
    g = derive_geometry(faces.identity.values, faces.attributes.values, faces.nuisance.values)
    pose = pose_of(g)
    zero = torch.zeros_like(g.width)
    corner = g.mouth_y - 0.55 * g.mouth_curve
    u = torch.cat([-g.eye_x, g.eye_x, zero, -g.mouth_width, g.mouth_width], dim=3)
    y = torch.cat([g.eye_y, g.eye_y, g.nose_y - 0.03, corner, corner], dim=3)
    x, y, _ = surface_to_head(head_profile(g), pose, unwarp_nose(u, y, g, pose), y)
    points = torch.cat(head_to_image(x, y, pose), dim=1)[:, :, 0]
    return (points.transpose(1, 2) + 1.0) * (0.5 * size) - 0.5


def _to_range(picture: Tensor) -> Tensor:
    return picture.clamp(0.0, 1.0) * 2.0 - 1.0


def _picture(identity: Tensor, attributes: Tensor, nuisance: Tensor, size: int) -> Tensor:
    return _to_range(paint(identity, attributes, nuisance, size, truth=False).canvas.picture)


@lru_cache(maxsize=1)
def _compiled_picture() -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
    return torch.compile(_picture, dynamic=False)
