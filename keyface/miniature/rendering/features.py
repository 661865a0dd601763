"""Eyes, brows, nose and mouth, drawn in canonical coordinates on the face's own canvas."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keyface.miniature.rendering.canvas import Canvas, Colour, blob, cover, ellipse, ramp, rgb
from keyface.miniature.rendering.geometry import Geometry

_IRISES = ((92, 58, 32), (120, 84, 40), (88, 116, 62), (72, 124, 160), (116, 140, 156))
"""Iris colours from brown over hazel and green to blue and grey."""


@dataclass(frozen=True)
class Sheet:
    """Canonical coordinates by pixel: u, its mirror m = |u|, side = sign(u), y, and the pixel's size."""

    u: Tensor
    m: Tensor
    side: Tensor
    y: Tensor
    pixel: Tensor


def iris_colour(g: Geometry) -> Colour:
    """Return the iris' colour, (B, 3, 1, 1)."""
    hue = g.trait["eye_hue"]
    position = (hue + 1.0) * 0.5 * (len(_IRISES) - 1)
    colour = torch.zeros_like(hue).expand(-1, 3, -1, -1)
    for index, entry in enumerate(_IRISES):
        weight = (1.0 - (position - index).abs()).clamp(min=0.0)
        colour = colour + weight * hue.new_tensor(entry).view(1, 3, 1, 1) / 255
    return colour * (1.0 + 0.22 * g.trait["eye_shade"])


def eye_lines(s: Sheet, g: Geometry) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the lids: dx outwards from the eye's middle, dy tilted with it, the upper and lower lid's dy."""
    dx = s.m - g.eye_x
    tilt = 0.10 + 0.13 * g.trait["eye_tilt"] - 0.10 * g.has["sad"]
    dy = s.y - g.eye_y + tilt * dx
    t = dx / g.eye_width
    arc = 1.0 - t * t
    # Fuller towards the nose above and towards the ear below, as almonds are.
    slant = g.has["angry"] * 0.22 - g.has["sad"] * 0.14 - 0.10 * g.old
    upper = -g.eye_upper * arc * (1.0 - 0.18 * t) - slant * dx * arc.clamp(min=0.0)
    lower = g.eye_lower * arc * (1.0 + 0.22 * t)
    return dx, dy, upper, lower


def paint_eyes(canvas: Canvas, s: Sheet, g: Geometry, lash: Colour, lid: Colour) -> None:
    """Paint both eyes with lids and lashes; `lash` is the line's colour and `lid` the shaded skin's."""
    a = g.has
    dx, dy, upper, lower = eye_lines(s, g)
    feminine = 1.0 - a["male"]
    makeup = a["makeup"]
    soft = s.pixel * 1.2

    # Eye shadow, from the lid up towards the brow.
    hue = g.photo["makeup_hue"]
    shadow = torch.lerp(rgb(122, 70, 128, s.u), rgb(58, 92, 140, s.u), ramp(hue, 0.45, 0.55))
    haze = blob(dx - 0.02, dy - upper + 0.03, g.eye_width * 1.05, 0.085)
    canvas.paint((0.95 * makeup * haze).clamp(max=0.8), shadow)
    # Crease of the upper lid.
    crease = (dy - upper + 0.05).abs() - 0.010
    inside = ramp(dx.abs(), g.eye_width * 1.05, g.eye_width * 0.6)
    canvas.paint(0.42 * cover(crease, soft) * inside, lid)
    # Bags: a crescent below.
    bags = torch.maximum(0.75 * g.old, ramp(g.trait["eye_bags"], 0.3, 1.0) * 0.6)
    fold = (dy - lower * 0.6 - 0.085 - 0.25 * dx * dx).abs() - 0.011
    canvas.paint(bags * 0.65 * cover(fold, soft * 1.6) * inside, lid)
    canvas.paint(bags * 0.32 * blob(dx, dy - 0.095, g.eye_width * 0.85, 0.045), lid)

    # The ball: white, shaded under the lid and towards the corners.
    opening = torch.maximum(upper - dy, dy - lower) * 0.85
    ball = cover(opening, s.pixel)
    dark = ramp(dy - upper, 0.055, 0.0) * 0.30 + ramp(dx.abs(), g.eye_width * 0.5, g.eye_width) * 0.15
    canvas.paint(ball, rgb(250, 247, 244, s.u) * (1.0 - dark), None)
    canvas.name(ball * (s.side < 0), "l_eye")
    canvas.name(ball * (s.side > 0), "r_eye")

    radius = 0.086 + 0.008 * g.trait["eye_size"]
    ix = dx * s.side - g.photo["gaze_x"] * 0.032
    iy = dy - g.photo["gaze_y"] * 0.014 + 0.010
    r = (ix * ix + iy * iy + 1e-8).sqrt()
    iris = iris_colour(g)
    # Light gathers on the side opposite to its source.
    glow = (1.0 + 0.45 * ramp(iy, -0.05, 0.07)) * (1.0 - 0.45 * ramp(r, radius * 0.72, radius))
    canvas.paint(ball * cover(r - radius, s.pixel), (iris * glow).clamp(max=1.0))
    canvas.paint(ball * cover(r - radius * 0.48, s.pixel), rgb(22, 16, 18, s.u))
    light_x = g.photo["light_x"]
    spark = ellipse(ix - 0.034 * light_x - 0.004, iy + 0.034, 0.023, 0.023)
    canvas.paint(ball * cover(spark, s.pixel), rgb(255, 255, 255, s.u))
    canvas.paint(
        0.5 * ball * cover(ellipse(ix + 0.034, iy - 0.034, 0.013, 0.013), s.pixel), rgb(255, 255, 255, s.u)
    )

    # Upper lid line with lashes that sweep outwards; the lower lid is only hinted at.
    t = (dx / g.eye_width).clamp(-1.4, 1.4)
    thick = (0.017 + 0.007 * feminine + 0.012 * makeup) * (0.85 + 0.4 * t)
    line = (dy - upper).abs() - thick
    wing = (dy + (0.45 * (dx - g.eye_width * 0.95)) + 0.01).abs() - 0.016
    reach = cover(dx.abs() - g.eye_width * 1.02, soft)
    sweep = (
        cover(wing, soft)
        * cover((dx - g.eye_width * 1.12).abs() - 0.045, soft)
        * (0.75 * feminine + 0.25 * makeup)
    )
    canvas.paint(torch.maximum(cover(line, soft) * reach * 0.95, sweep), lash)
    rim = (dy - lower).abs() - 0.006 - 0.006 * makeup
    canvas.paint((0.38 + 0.4 * makeup) * cover(rim, soft) * reach, lash)


def paint_brows(canvas: Canvas, s: Sheet, g: Geometry, colour: Colour) -> None:
    """Paint both brows: an arc that is thick towards the nose and thins outwards."""
    a = g.has
    dx = s.m - g.eye_x - 0.015
    width = 0.215 + 0.02 * g.trait["brow_thickness"]
    t = dx / width
    arch = 0.055 + 0.045 * g.trait["brow_arch"] + 0.03 * a["surprised"] - 0.02 * a["angry"]
    tilt = 0.04 * g.trait["brow_tilt"] + 0.24 * a["sad"] - 0.32 * a["angry"]
    line = g.brow_y + arch * (t * t - 0.35 + 0.25 * t) + tilt * dx
    thick = 0.033 + 0.017 * g.trait["brow_thickness"] + 0.009 * a["male"] - 0.004
    thick = thick * (1.0 - 0.62 * ramp(t, -0.3, 1.05)) * (1.0 - 0.25 * ramp(t, -0.7, -1.05))
    edge = torch.maximum((s.y - line).abs() - thick, (t.abs() - 1.0) * width)
    hairs = 0.90 + 0.10 * (dx * 95.0 + s.y * 60.0).sin()
    alpha = cover(edge, s.pixel * 1.6)
    canvas.paint(alpha * 0.92 * hairs, colour)
    canvas.name(alpha * (s.side < 0), "l_brow")
    canvas.name(alpha * (s.side > 0), "r_brow")
    # A frown: two upright folds between the brows.
    folds = (s.m - 0.052 - 0.10 * (s.y - g.brow_y)).abs() - 0.009
    span = ramp((s.y - g.brow_y - 0.02).abs(), 0.12, 0.05)
    canvas.paint(0.60 * a["angry"] * cover(folds, s.pixel * 1.5) * span, rgb(92, 48, 40, s.u))


def paint_nose(canvas: Canvas, s: Sheet, g: Geometry, shadow: Colour, sheen: Tensor) -> None:
    """Paint nostrils, wings and the lit tip; most of the nose is relief."""
    soft = s.pixel * 1.4
    width, at = g.nose_width, g.nose_y
    dy = s.y - at
    bridge = 0.070 + (width - 0.055) * ramp(dy, -0.22, -0.03)
    region = torch.maximum(s.m - bridge, torch.maximum(dy - 0.03, g.eye_y - 0.02 - s.y))
    canvas.name(cover(region, s.pixel), "nose")
    # Sides of the bridge.
    side = (s.m - 0.072 - 0.03 * ramp(dy, -0.3, 0.0)).abs()
    length = ramp(s.y, g.brow_y + 0.05, g.eye_y) * ramp(dy, -0.03, -0.16)
    canvas.paint(0.20 * torch.exp(-(side * side) * (1.0 / 0.028**2)) * length, shadow)
    # Wings: the outer arc of a circle.
    wing_x, wing_y = s.m - (width - 0.060), dy + 0.025
    ring = (ellipse(wing_x, wing_y, 0.062, 0.056)).abs() - 0.010
    outer = ramp(wing_x + 0.5 * wing_y, -0.005, 0.045)
    canvas.paint(0.55 * cover(ring, soft) * outer, shadow)
    # Underside of the tip, then the nostrils.
    tip = g.trait["nose_tip"]
    base = (dy - 0.028 - 0.020 * tip + 0.9 * s.m * s.m).abs() - 0.010
    canvas.paint(0.45 * cover(base, soft) * ramp(s.m, width * 0.62, width * 0.2), shadow)
    nostril = ellipse(
        s.m - width * 0.50, dy - 0.010 + 0.25 * (s.m - width * 0.5), 0.036 + 0.12 * (width - 0.13), 0.019
    )
    canvas.paint(0.72 * cover(nostril, soft), shadow * 0.62)
    gleam = blob(s.u - 0.03 * g.photo["light_x"], dy + 0.075 - 0.01 * tip, 0.032 - 0.008 * tip, 0.032)
    ridge = blob(s.u - 0.02 * g.photo["light_x"], dy + 0.22, 0.020, 0.12)
    canvas.paint(sheen * (0.42 * gleam + 0.20 * ridge), rgb(255, 246, 236, s.u))


def paint_mouth(canvas: Canvas, s: Sheet, g: Geometry, lips: Colour, shadow: Colour) -> None:
    """Paint lips, what an open mouth shows, and the corners."""
    a = g.has
    smile = a["smiling"]
    width = g.mouth_width
    t = (s.u / width).clamp(-1.3, 1.3)
    tt = t * t
    q = (1.0 - tt).clamp(min=0.0)
    line = g.mouth_y + g.mouth_curve * (0.45 - tt) + 0.006 * t * g.trait["lip_bow"]
    grin = 0.082 * smile
    # A flat-topped opening for a smile, a round one for a gape.
    gap = (g.gape + grin) * q.sqrt() * (0.35 + 0.65 * q)
    roof, floor = line - 0.30 * gap, line + 0.70 * gap
    bow = 1.0 - (0.30 + 0.18 * g.trait["lip_bow"]) * torch.exp(-tt * (1.0 / 0.16**2))
    peak = q * (1.0 + 0.25 * torch.exp(-((t.abs() - 0.3) ** 2) * (1.0 / 0.3**2)))
    top = roof - g.lip_upper * bow * peak
    bottom = floor + g.lip_lower * q * (0.55 + 0.45 * q)
    soft = s.pixel * 1.1
    ends = cover(s.u.abs() - width, soft)

    upper = cover(torch.maximum(top - s.y, s.y - roof), soft) * ends
    lower = cover(torch.maximum(floor - s.y, s.y - bottom), soft) * ends
    inner = cover(torch.maximum(roof - s.y, s.y - floor), s.pixel) * ends * ramp(gap, 0.004, 0.02)
    canvas.paint(lower, lips * (1.04 - 0.16 * ramp(s.y, floor, bottom + 0.02)), "l_lip")
    canvas.paint(upper, lips * 0.86, "u_lip")
    gloss = blob(
        t - 0.18 * g.photo["light_x"], (s.y - 0.45 * floor - 0.55 * bottom) / g.lip_lower, 0.34, 0.26
    )
    canvas.paint((0.30 + 0.35 * a["lipstick"]) * gloss * lower, rgb(255, 238, 232, s.u))
    canvas.paint(inner, rgb(74, 24, 28, s.u), "mouth")
    tongue = blob(s.u, s.y - floor + 0.01, width * 0.55, 0.05)
    canvas.paint(inner * tongue * 0.65 * ramp(gap, 0.06, 0.12), rgb(190, 86, 90, s.u))
    # A smile shows a row of teeth, an open mouth hardly any.
    row = torch.maximum(0.92 * grin, 0.16 * g.gape) * q.sqrt()
    teeth = cover(s.y - roof - row, s.pixel) * ramp(t.abs(), 0.97, 0.80)
    canvas.paint(inner * teeth * (0.96 * ramp(smile + g.gape * 4.0, 0.1, 0.5)), rgb(252, 249, 243, s.u))
    # The line between closed lips, and the corners.
    shut = cover((s.y - line).abs() - 0.011, soft) * ends * ramp(gap, 0.05, 0.01)
    canvas.paint(0.80 * shut, shadow * 0.60)
    corner_y = g.mouth_y + g.mouth_curve * (0.45 - 1.0)
    corner = blob(s.m - width, s.y - corner_y, 0.030, 0.026)
    canvas.paint((0.45 + 0.25 * smile) * corner, shadow * 0.75)
