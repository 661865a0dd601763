"""Exact optical flow: every pixel knows the surface point that it shows, and that point where it goes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from keyface.miniature.population.parameters import Faces
from keyface.miniature.rendering.body import ear_of, glasses_frame, glasses_to_head
from keyface.miniature.rendering.geometry import Geometry
from keyface.miniature.rendering.hair import back_hair_x, hair_profile, sway
from keyface.miniature.rendering.head import (
    Pose,
    head_profile,
    head_to_image,
    pixel_grid,
    surface_to_head,
    unwarp_nose,
)
from keyface.miniature.rendering.scene import (
    BACK_HAIR,
    BODY,
    GLASSES,
    GROUND,
    HEAD,
    LEFT_EAR,
    RIGHT_EAR,
    SHELL,
    Scene,
    paint,
)

_TOLERANCE_PIXELS = 1.5


def surface_map(scene: Scene, size: int) -> Tensor:
    """Return each pixel's coordinates on the layer that it belongs to, and that layer, (B, 3, H, W)."""
    layers = scene.canvas.layers
    assert layers is not None
    g, pose, x, y = scene.geometry, scene.pose, scene.x, scene.y
    image_x, image_y = pixel_grid(size, x.device)
    pairs: dict[int, tuple[Tensor, Tensor]] = {
        GROUND: (image_x, image_y),
        BODY: scene.body,
        BACK_HAIR: (back_hair_x(x, pose), y),
        HEAD: (scene.u, scene.face.y),
        SHELL: (scene.hair.shell.u, scene.hair.shell.y),
        GLASSES: glasses_frame(g, pose, x, y),
    }
    for layer, side in ((LEFT_EAR, -1.0), (RIGHT_EAR, 1.0)):
        ear = ear_of(g, pose, side)
        pairs[layer] = ((x - ear.x) / ear.width, y - ear.y)
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    for layer, (p, q) in pairs.items():
        first, second = torch.where(layers == layer, p, first), torch.where(layers == layer, q, second)
    return torch.cat([first, second, layers.to(first.dtype)], dim=1)


def place(surface: Tensor, g: Geometry, pose: Pose) -> tuple[Tensor, Tensor]:
    """Find where surface points (B, 3, H, W) appear under these measures and this pose, in [-1, 1]."""
    p, q, layers = surface[:, :1], surface[:, 1:2], surface[:, 2:]
    head_x, head_y, _ = surface_to_head(head_profile(g), pose, unwarp_nose(p, q, g, pose), q)
    shell_x, shell_y, _ = surface_to_head(hair_profile(g), pose, p, q)
    upright: dict[int, tuple[Tensor, Tensor]] = {
        BACK_HAIR: (back_hair_x(p, pose, inverse=True), q),
        HEAD: (head_x, head_y),
        SHELL: (shell_x / sway(shell_y, g, 0.030), shell_y),
        GLASSES: glasses_to_head(g, pose, p, q),
    }
    for layer, side in ((LEFT_EAR, -1.0), (RIGHT_EAR, 1.0)):
        ear = ear_of(g, pose, side)
        upright[layer] = (p * ear.width + ear.x, q + ear.y)
    x, y = p, q
    for layer, point in upright.items():
        image_x, image_y = head_to_image(*point, pose)
        x, y = torch.where(layers == layer, image_x, x), torch.where(layers == layer, image_y, y)
    body_x, body_y = (p + 0.9 * pose.x) / pose.zoom, (q + 0.9 * pose.y) / pose.zoom
    return torch.where(layers == BODY, body_x, x), torch.where(layers == BODY, body_y, y)


@torch.no_grad()
def render_flow(first: Faces, second: Faces, size: int = 128) -> tuple[Tensor, Tensor]:
    """Compute the exact flow from each first face to its second: first[p] ≈ second[p + flow[p]].

    Args:
        first: B faces.
        second: B faces of the same people, in the same state.
        size: Rows and columns.

    Returns:
        The flow (B, 2, size, size) in pixels as (x, y), and where it holds (B, size, size) bool: visible in
        both, and no eye, lip or other part that itself changed (blink, gaze, open mouth, expression).
    """
    before, after = (
        paint(faces.identity.values, faces.attributes.values, faces.nuisance.values, size, truth=True)
        for faces in (first, second)
    )
    source, target = surface_map(before, size), surface_map(after, size)
    x, y = pixel_grid(size, source.device)
    home_x, home_y = place(source, before.geometry, before.pose)
    goal_x, goal_y = place(source, after.geometry, after.pose)
    half = 0.5 * size
    # A point that does not even return to its own pixel is a rim, whose coordinates are not its own.
    stays = torch.hypot(home_x - x, home_y - y) * half < 0.35
    inside = (goal_x.abs() <= 1.0) & (goal_y.abs() <= 1.0)
    grid = torch.cat([goal_x, goal_y], dim=1).permute(0, 2, 3, 1)
    assert before.canvas.classes is not None
    assert after.canvas.classes is not None
    known = torch.cat([target, after.canvas.classes.to(target.dtype)], dim=1)
    seen = grid_sample(known, grid, mode="nearest", align_corners=False)
    pixel = before.pose.zoom / half
    same = (seen[:, :2] - source[:, :2]).abs().amax(dim=1, keepdim=True) < _TOLERANCE_PIXELS * pixel
    same = same & (seen[:, 2:3] == source[:, 2:]) & (seen[:, 3:] == before.canvas.classes)
    valid = stays & inside & same & ~_changed(first, second, source, before.geometry)
    return torch.cat([goal_x - x, goal_y - y], dim=1) * half, valid[:, 0]


def _changed(first: Faces, second: Faces, source: Tensor, g: Geometry) -> Tensor:
    """Mark parts of the face that moved by themselves, (B, 1, H, W) bool."""

    def differs(*names: str) -> Tensor:
        change = torch.stack([(first.condition(name) - second.condition(name)).abs() for name in names])
        return (change.amax(dim=0) > 1e-3)[:, None, None, None]

    mimics = (first.attributes.values != second.attributes.values).any(dim=1)[:, None, None, None]
    u, y, layer = source[:, :1], source[:, 1:2], source[:, 2:]
    on_eye = ((u.abs() - g.eye_x).abs() < g.eye_width * 1.35) & ((y - g.eye_y).abs() < 0.15)
    # The jaw carries the whole lower face, and the head's outline with it.
    on_jaw = y > g.nose_y - 0.3
    moved = (on_eye & (differs("blink", "gaze_x", "gaze_y") | mimics)) | (
        on_jaw & (differs("mouth_open") | mimics)
    )
    return moved & ((layer == HEAD) | (layer == GLASSES))
