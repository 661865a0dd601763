"""Everything but the face: background, ears, neck, shoulders and what is worn there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keyface.miniature.rendering.canvas import Canvas, Colour, blob, cover, ellipse, ramp, rgb
from keyface.miniature.rendering.geometry import Geometry
from keyface.miniature.rendering.head import KAPPA, Pose, head_profile
from keyface.miniature.rendering.shading import diffuse, lit

EAR_Y = 0.13
_EAR_SINE, _EAR_COSINE = 0.985, 0.1725
"""The ears sit at this surface angle, a little before the widest point."""


def photo_colour(g: Geometry, prefix: str) -> Colour:
    """Return a colour among the nuisances, (B, 3, 1, 1)."""
    return torch.cat([g.photo[f"{prefix}_{channel}"] for channel in "rgb"], dim=1)


def background(g: Geometry, x: Tensor, y: Tensor) -> Tensor:
    """Draw a soft gradient with a darker rim, (B, 3, H, W); `x`, `y` in [-1, 1]."""
    angle = g.photo["background_angle"]
    along = 0.5 + 0.42 * (x * angle.cos() + y * angle.sin())
    colour = torch.lerp(photo_colour(g, "background"), photo_colour(g, "background_2"), along.clamp(0.0, 1.0))
    return colour * (1.03 - 0.09 * (x * x + y * y))


@dataclass(frozen=True)
class Ear:
    """One ear: where it is in the head's upright plane and how much it is before the head, (B, 1, 1, 1)."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    near: Tensor
    side: float


def ear_of(g: Geometry, pose: Pose, side: float) -> Ear:
    """Return the viewer's left (side -1) or right (+1) ear."""
    half = head_profile(g).squared(torch.full_like(g.width, EAR_Y)).sqrt() * pose.stretch
    sine = side * _EAR_SINE * pose.cos_phi + _EAR_COSINE * pose.sin_phi
    cosine = _EAR_COSINE * pose.cos_phi - side * _EAR_SINE * pose.sin_phi
    # Ears stand off to the side: the near one is seen flat, the far one from its edge.
    width = 0.085 * (1.0 + 0.25 * g.trait["ear_size"]) * (0.95 + 0.9 * cosine).clamp(0.25, 1.5)
    y = EAR_Y + pose.sin_pitch * half * cosine
    height = 0.185 * (1.0 + 0.2 * g.trait["ear_size"])
    return Ear(half * sine + side * width * 0.55, y, width, height, ramp(cosine, -0.02, 0.12), side)


def paint_ear(canvas: Canvas, ear: Ear, x: Tensor, y: Tensor, alpha_of: Tensor, skin: Colour, g: Geometry,
              pixel: Tensor, layer: int) -> Tensor:  # fmt: skip
    """Paint an ear where `alpha_of` lets it, and return its own coverage."""
    dx, dy = (x - ear.x) * ear.side, y - ear.y
    dx = dx - 0.10 * dy * -1.0 - 0.02
    lobe = 1.0 - 0.30 * ramp(dy, 0.0, 0.18)
    alpha = cover(ellipse(dx, dy, ear.width * lobe, ear.height), pixel * 1.1)
    light = 0.80 + 0.22 * ear.side * g.photo["light_x"] - 0.25 * ramp(dx, 0.02, -0.08)
    hollow = blob(dx - 0.005, dy + 0.02, ear.width * 0.50, ear.height * 0.55)
    rim = ellipse(dx - 0.012, dy + 0.03, ear.width * 0.66, ear.height * 0.66).abs() - 0.008
    light = light - 0.34 * hollow - 0.16 * cover(rim, pixel * 2.0)
    red = skin.new_tensor((1.02, 0.93, 0.91)).view(1, 3, 1, 1)
    canvas.paint(
        alpha * alpha_of, lit(skin * red, light.clamp(0.0, 1.05)), "l_ear" if ear.side < 0 else "r_ear", layer
    )
    return alpha


def body_frame(g: Geometry, pose: Pose, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Map image [-1, 1] → head units for shoulders, which follow the head's place and size, not its turns."""
    return x * pose.zoom - 0.9 * pose.x, y * pose.zoom - 0.9 * pose.y


def paint_body(canvas: Canvas, g: Geometry, pose: Pose, bx: Tensor, by: Tensor, jaw: Tensor, skin: Colour,
               pixel: Tensor, layer: int) -> None:  # fmt: skip
    """Paint neck, clothes, necklace and necktie.

    Args:
        canvas: The scene.
        g: Measures.
        pose: The head's pose, to lean the neck.
        bx: Body coordinates, (B, 1, H, W).
        by: Likewise.
        jaw: Signed distance to the head, for its shadow, (B, 1, H, W).
        skin: (B, 3, 1, 1).
        pixel: A pixel's size in head units.
        layer: The motion layer.
    """
    a = g.has
    m = bx.abs()
    half = 0.34 + 0.05 * a["male"] + 0.04 * g.trait["fullness"] + 0.03 * g.trait["skull_width"]
    lean = bx - 0.10 * pose.sin_yaw
    # The neck widens into the shoulders.
    spread = half + 0.55 * ramp(by, 0.95, 1.45) ** 2
    neck = cover(lean.abs() - spread, pixel) * ramp(by, 0.45, 0.5)
    bend = lean / spread
    light = diffuse((bend, torch.full_like(bend, 0.25), (1.0 - bend * bend).clamp(min=0.05).sqrt()), g)
    shade = ramp(jaw, 0.30, 0.0) * 0.50 + 0.10
    cords = 0.10 * blob(m - 0.16 - 0.05 * (1.2 - by), by - 1.15, 0.03, 0.2)
    double = ramp(g.trait["fullness"], 0.55, 0.8)
    canvas.paint(neck, lit(skin, (light * (1.0 - shade) - cords).clamp(0.0, 1.05)), "neck", layer)
    chin = cover((by - g.chin - 0.055 + 0.9 * bx * bx).abs() - 0.012, pixel * 2.0) * ramp(m, 0.30, 0.18)
    canvas.paint(0.45 * double * chin * neck, skin * 0.55)

    chain = (by - 1.165 + 0.35 * bx * bx).abs() - 0.020
    beads = 0.75 + 0.25 * (bx * 55.0).sin()
    canvas.paint(a["necklace"] * cover(chain, pixel) * neck, rgb(226, 188, 96, bx) * beads, "neck_l", layer)

    # Clothes: a rounded neckline, or a deeper one, over sloping shoulders.
    style = g.photo["clothes_style"]
    opening = half + 0.03 + 0.06 * style
    tie = a["necktie"]
    scoop = 1.15 + 0.09 * style * (1.0 - tie)
    neckline = scoop - (scoop - 1.0) * ramp(m, opening * 0.45, opening * 1.15)
    shoulder = 1.00 + 0.05 * ramp(m, opening, 0.7) + 0.30 * ramp(m, 0.65, 1.35) ** 2
    top = torch.maximum(neckline, shoulder)
    cloth = cover(top - by, pixel)
    tone = photo_colour(g, "clothes")
    folds = 0.035 * (bx * 9.0 + 5.0 * style + by * 4.0).sin() + 0.02 * (bx * 21.0 - by * 9.0).sin()
    side = 0.10 * g.photo["light_x"] * bx
    under = 0.20 * ramp(by - top, 0.14, 0.0)
    tone = tone * (1.0 + folds + side - under)
    canvas.paint(cloth, tone, "cloth", layer)
    collar = cover((by - top - 0.035).abs() - 0.012, pixel * 1.2) * ramp(m, opening * 1.3, opening * 1.1)
    canvas.paint(cloth * collar * 0.5 * (1.0 - tie), tone * 0.72)
    # A necktie comes with a white collar.
    shirt = cover(torch.maximum(m - 0.30 + 0.2 * (by - 1.1), top - by), pixel)
    canvas.paint(tie * shirt, rgb(238, 239, 244, bx) * (1.0 - 0.25 * under), "cloth")
    knot = torch.maximum(m - 0.085 + 0.25 * (by - 1.17), 1.13 - by)
    stripe = 0.85 + 0.15 * ((bx + by) * 45.0).sin()
    canvas.paint(tie * cover(knot, pixel), rgb(120, 34, 44, bx) * stripe, "cloth")


def glasses_frame(g: Geometry, pose: Pose, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Map a pixel (upright plane) → coordinates on the gently curved sheet that glasses lie in."""
    depth = g.width * KAPPA + 0.06
    u = x
    for _ in range(3):
        u = (x - (depth - 0.35 * u * u) * pose.sin_yaw) / pose.cos_yaw
    return u, y - pose.sin_pitch * (depth - 0.1)


def glasses_to_head(g: Geometry, pose: Pose, u: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Invert `glasses_frame`."""
    depth = g.width * KAPPA + 0.06
    return u * pose.cos_yaw + (depth - 0.35 * u * u) * pose.sin_yaw, y + pose.sin_pitch * (depth - 0.1)
