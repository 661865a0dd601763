"""Glasses, hats and earrings."""

from __future__ import annotations

import torch
from torch import Tensor

from keyface.miniature.rendering.body import Ear, glasses_frame, photo_colour
from keyface.miniature.rendering.canvas import Canvas, Colour, cover, ellipse, ramp, rgb
from keyface.miniature.rendering.features import Sheet
from keyface.miniature.rendering.geometry import Geometry
from keyface.miniature.rendering.hair import Hair
from keyface.miniature.rendering.head import Pose
from keyface.miniature.rendering.shading import light_direction


def frame_colour(g: Geometry) -> Colour:
    """Return black, tortoise, red-brown or metal, (B, 3, 1, 1); sunglasses are always dark."""
    choice = g.photo["glasses_colour"]
    colour = torch.lerp(rgb(26, 24, 30, choice), rgb(92, 52, 30, choice), ramp(choice, 0.34, 0.36))
    colour = torch.lerp(colour, rgb(120, 30, 44, choice), ramp(choice, 0.64, 0.66))
    colour = torch.lerp(colour, rgb(58, 66, 92, choice), ramp(choice, 0.84, 0.86))
    return torch.lerp(colour, rgb(20, 19, 23, choice), g.has["sunglasses"])


def paint_temples(canvas: Canvas, s: Sheet, g: Geometry) -> None:
    """Paint the bars from the lenses to the ears, on the side of the face (under the hair)."""
    worn = torch.maximum(g.has["eyeglasses"], g.has["sunglasses"])
    bar = (s.y - g.eye_y + 0.035 - 0.03 * (s.m - 0.5)).abs() - 0.030
    bar = torch.maximum(bar, g.eye_x + 0.22 - s.m)
    canvas.paint(worn * cover(bar, s.pixel), frame_colour(g), "eye_g")


def paint_glasses(
    canvas: Canvas, g: Geometry, pose: Pose, x: Tensor, y: Tensor, pixel: Tensor, layer: int
) -> None:
    """Paint frames and lenses: thick enough to be seen in a thumbnail, filled where they are sunglasses."""
    a = g.has
    dark = a["sunglasses"]
    worn = torch.maximum(a["eyeglasses"], dark)
    u, v = glasses_frame(g, pose, x, y)
    shape = g.photo["glasses_shape"]
    wide = 0.222 + 0.014 * dark
    tall = 0.205 - 0.055 * ramp(shape, 0.2, 0.9) + 0.012 * dark
    corner = 0.19 - 0.115 * ramp(shape, 0.35, 0.8)
    corner = torch.minimum(corner, tall - 0.004)
    centre = g.eye_x.clamp(min=0.262)
    dx, dy = u.abs() - centre, v - g.eye_y - 0.015
    # Lenses are fuller above than below.
    px, py = dx.abs() - (wide - 0.10 * dy.clamp(min=0.0)) + corner, dy.abs() - tall + corner
    outside = (px.clamp(min=0.0) ** 2 + py.clamp(min=0.0) ** 2 + 1e-9).sqrt()
    lens = outside + torch.maximum(px, py).clamp(max=0.0) - corner

    inside = cover(lens, pixel)
    sky = ramp(dy, 0.5 * tall, -tall)
    glass = torch.lerp(rgb(205, 222, 232, u), rgb(17, 18, 24, u) + 0.09 * sky, dark)
    # CelebAMask-HQ names a lens as glasses, but the eye and the brow seen through it as themselves.
    canvas.name(worn * inside, "eye_g", except_over=("l_eye", "r_eye", "l_brow", "r_brow", "hair"))
    canvas.paint(worn * inside * (0.10 + 0.85 * dark), glass, "eye_g", layer)
    slash = dx * 0.80 + dy + 0.065 - 0.02 * g.photo["light_x"]
    glare = cover(slash.abs() - 0.026, pixel * 2.0) + 0.7 * cover((slash + 0.085).abs() - 0.011, pixel * 2.0)
    canvas.paint(worn * inside * glare * (0.24 + 0.10 * dark), rgb(255, 255, 255, u))

    rim = lens.abs() - 0.031
    bridge = torch.maximum((dy + 0.055 - 0.25 * u * u * 2.0).abs() - 0.028, u.abs() - centre + wide - 0.02)
    hinge = torch.maximum((dy + 0.05).abs() - 0.034, (dx - wide - 0.02).abs() - 0.045)
    frame = torch.minimum(torch.minimum(rim, bridge), hinge)
    shine = 1.0 + 0.5 * ramp(dy, -0.05, -tall)
    canvas.paint(worn * cover(frame, pixel), frame_colour(g) * shine, "eye_g", layer)


def paint_hat(
    canvas: Canvas, g: Geometry, pose: Pose, hair: Hair, x: Tensor, pixel: Tensor, layer: int
) -> None:
    """Paint a knitted cap with a cuff, or a felt hat with a brim."""
    worn = g.has["hat"]
    brimmed = ramp(g.photo["hat_style"], 0.49, 0.51)
    shell = hair.shell
    colour = photo_colour(g, "hat")
    edge = -0.46 + 0.06 * (shell.u / g.width) ** 2
    bulge = ramp(shell.y, edge - 0.25, edge - 0.20) * (1.0 - brimmed) * 0.025
    crown = torch.maximum(shell.distance - 0.035 - bulge, shell.y - edge)
    normal_x, normal_y, normal_z = shell.normal
    light_x, light_y, light_z = light_direction(g)
    dot = normal_x * light_x + normal_y * light_y + normal_z * light_z
    light = 0.62 + 0.46 * dot * torch.rsqrt(normal_x**2 + normal_y**2 + normal_z**2 + 1e-3)
    cuff = ramp(shell.y, edge - 0.225, edge - 0.205)
    angle = shell.u / (1.02 - 0.45 * (shell.y + 0.6).abs()).clamp(min=0.3)
    knit = 0.08 * (angle * 46.0).sin() * (1.0 - brimmed)
    seam = ramp((shell.y - edge + 0.215).abs(), 0.03, 0.0)
    light = light + knit + 0.08 * cuff - 0.28 * seam * (1.0 - brimmed)
    band = torch.lerp(colour, colour * 0.45, brimmed * cuff)
    alpha = worn * cover(crown, pixel * 1.2)
    canvas.paint(alpha, band * light, "hat", layer)
    # The brim is a flat ring about the head, seen from a little below its level.
    rise = shell.y - edge + 0.02
    brim = ellipse(x - 0.05 * pose.sin_yaw, rise, g.width * 1.38, 0.085)
    canvas.paint(worn * brimmed * cover(brim, pixel * 1.2), colour * (0.78 - 1.6 * rise), "hat", layer)


def paint_earring(canvas: Canvas, g: Geometry, ear: Ear, x: Tensor, y: Tensor, visible: Tensor, pixel: Tensor,
                  layer: int) -> None:  # fmt: skip
    """Paint a drop or a hoop at the lobe, where the ear is `visible` (B, 1, 1, 1)."""
    dx, dy = x - ear.x + ear.side * 0.015, y - ear.y - ear.height
    hoop = ramp(g.photo["earring_style"], 0.49, 0.51)
    drop = torch.minimum(ellipse(dx, dy - 0.085, 0.046, 0.062), ellipse(dx, dy - 0.005, 0.026, 0.026))
    ring = ellipse(dx, dy - 0.06, 0.062, 0.075).abs() - 0.017
    shape = torch.lerp(drop, ring, hoop)
    gold = torch.lerp(rgb(232, 190, 84, x), rgb(214, 222, 232, x), ramp(g.photo["makeup_hue"], 0.69, 0.71))
    gleam = ramp(ellipse(dx + 0.014, dy - 0.062, 0.018, 0.018), 0.01, -0.01)
    alpha = g.has["earrings"] * visible * cover(shape, pixel)
    canvas.paint(
        alpha, (gold * (0.86 + 0.22 * ramp(dy, 0.13, 0.0)) + 0.35 * gleam).clamp(max=1.0), "ear_r", layer
    )
