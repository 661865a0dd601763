"""Puts a face together, from the background to the glasses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keyface.miniature.rendering import accessories, body, features, marks, shading
from keyface.miniature.rendering.canvas import Canvas, cover, ramp, rgb
from keyface.miniature.rendering.features import Sheet
from keyface.miniature.rendering.geometry import Geometry, derive_geometry
from keyface.miniature.rendering.hair import Hair, grow_hair, hair_colour
from keyface.miniature.rendering.head import (
    Pose,
    Surface,
    head_profile,
    image_to_head,
    pixel_grid,
    pose_of,
    surface_of,
    warp_nose,
)

GROUND, BODY, BACK_HAIR, LEFT_EAR, RIGHT_EAR, HEAD, SHELL, GLASSES = range(8)
"""Motion layers: what a pixel moves with."""


@dataclass(frozen=True)
class Scene:
    """A painted batch and the coordinates that it was painted in."""

    canvas: Canvas
    geometry: Geometry
    pose: Pose
    x: Tensor
    y: Tensor
    face: Surface
    u: Tensor
    hair: Hair
    body: tuple[Tensor, Tensor]


def paint(identity: Tensor, attributes: Tensor, nuisance: Tensor, size: int, truth: bool) -> Scene:
    """Paint a batch.

    Args:
        identity: (B, len(IDENTITY_NAMES)).
        attributes: (B, len(ATTRIBUTE_NAMES)).
        nuisance: (B, len(NUISANCE_NAMES)).
        size: Rows and columns of the picture.
        truth: Whether to keep the label map and the layers.
    """
    g = derive_geometry(identity, attributes, nuisance)
    pose = pose_of(g)
    image_x, image_y = pixel_grid(size, identity.device)
    x, y = image_to_head(image_x, image_y, pose)
    pixel = pose.zoom * (2.0 / size)
    face = surface_of(head_profile(g), pose, x, y)
    u = warp_nose(face.u, face.y, g, pose)
    sheet = Sheet(u, u.abs(), u.sign(), face.y, pixel)
    hair = grow_hair(g, pose, x, y, face, pixel)
    skin = shading.skin_colour(g)
    bx, by = body.body_frame(g, pose, image_x, image_y)

    canvas = Canvas(body.background(g, image_x, image_y), truth)
    canvas.paint(hair.back, hair.colour * (0.62 + 0.16 * ramp(by, 0.4, 1.2)), "hair", BACK_HAIR)
    # A beard stands off the jaw.
    rim = face.distance - (0.060 * g.has["beard"] * ramp(face.y, 0.30, 0.80))
    rim = rim - 0.025 * g.has["goatee"] * ramp(face.y, 0.80, 0.95)
    head = cover(rim, pixel * 1.1)
    body.paint_body(canvas, g, pose, bx, by, face.distance, skin, pixel, BODY)

    front = hair.front
    ears = [body.ear_of(g, pose, side) for side in (-1.0, 1.0)]
    for ear, layer in zip(ears, (LEFT_EAR, RIGHT_EAR), strict=True):
        body.paint_ear(canvas, ear, x, y, 1.0 - ear.near, skin, g, pixel, layer)
    canvas.lay(_paint_face(sheet, face, hair, g, skin, truth), head, HEAD)
    # Hair is tucked behind the ear, or falls over it.
    bare = 1.0 - ramp(g.hair_long, -0.10, 0.0) * ramp(g.trait["hair_tuck"], 0.25, 0.15)
    for ear, layer in zip(ears, (LEFT_EAR, RIGHT_EAR), strict=True):
        alpha = body.paint_ear(canvas, ear, x, y, ear.near, skin, g, pixel, layer)
        front = front * (
            1.0 - alpha * ear.near * bare * ramp(y - ear.y, -0.8 * ear.height, -0.4 * ear.height)
        )
    canvas.paint(front, hair.colour, "hair", SHELL)
    accessories.paint_glasses(canvas, g, pose, x, y, pixel, GLASSES)
    accessories.paint_hat(canvas, g, pose, hair, x, pixel, SHELL)
    for ear, layer in zip(ears, (LEFT_EAR, RIGHT_EAR), strict=True):
        accessories.paint_earring(canvas, g, ear, x, y, ramp(ear.near, 0.1, 0.6), pixel, layer)
    ambient = torch.cat([g.photo[f"ambient_{channel}"] for channel in "rgb"], dim=1)
    canvas.shade(ambient)
    return Scene(canvas, g, pose, x, y, face, u, hair, (bx, by))


def _paint_face(s: Sheet, face: Surface, hair: Hair, g: Geometry, skin: Tensor, truth: bool) -> Canvas:
    """Paint the face as a sheet of skin with everything that is drawn on it."""
    light = shading.face_light(face, s.u, s.m, g)
    shaded = light * (1.0 - shading.occlusion(s.m, s.y, g))
    roof = ramp(hair.roof, 0.16, 0.0) * 0.22 * (1.0 - g.has["bald"])
    hat = ramp(hair.shell.y + 0.46, 0.20, 0.0) * 0.30 * g.has["hat"]
    shaded = shaded * (1.0 - torch.maximum(roof, hat))
    ground = shading.lit(skin, shaded.clamp(0.0, 1.12))
    canvas = Canvas(ground.clamp(0.0, 1.0), truth)
    canvas.name(torch.ones_like(s.u), "skin")

    shadow = skin * skin.new_tensor((0.52, 0.36, 0.32)).view(1, 3, 1, 1)
    strand = hair_colour(g)
    marks.paint_blush(canvas, s, g)
    marks.paint_spots(canvas, s, g, shadow)
    # Skin lit less takes its features darker with it; folds are drawn after, they are shadow themselves.
    features.paint_nose(canvas, s, g, shadow, light.clamp(0.0, 1.0))
    marks.paint_wrinkles(canvas, s, g, shadow)
    marks.paint_facial_hair(canvas, s, face.half, g, strand * 0.92)
    features.paint_mouth(canvas, s, g, _lip_colour(g, skin) * (0.80 + 0.20 * light.clamp(0.0, 1.0)), shadow)
    lash = rgb(34, 24, 24, s.u)
    features.paint_eyes(canvas, s, g, lash, shadow)
    # Brows are darker than both the hair and the skin, or fair hair would leave dark faces without any.
    brow = torch.lerp(strand * 0.55, rgb(52, 38, 32, s.u), 0.45) * (
        0.45 + 0.65 * skin.mean(dim=1, keepdim=True)
    )
    features.paint_brows(canvas, s, g, brow)
    accessories.paint_temples(canvas, s, g)
    return canvas


def _lip_colour(g: Geometry, skin: Tensor) -> Tensor:
    """Return the lips' colour: redder skin, and paint over it."""
    a = g.has
    rose = torch.lerp(
        skin * skin.new_tensor((0.92, 0.62, 0.60)).view(1, 3, 1, 1), rgb(198, 92, 92, skin), 0.35
    )
    rose = torch.lerp(rose, skin * skin.new_tensor((0.84, 0.64, 0.58)).view(1, 3, 1, 1), 0.45 * a["male"])
    hue = g.photo["lipstick_hue"]
    paint_ = torch.lerp(rgb(196, 18, 44, skin), rgb(168, 16, 92, skin), ramp(hue, 0.5, 0.9))
    worn = a["lipstick"]
    return torch.lerp(rose, paint_, 0.92 * worn)
