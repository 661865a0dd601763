"""What time and chance draw on skin: blush, freckles, moles, wrinkles; and facial hair."""

from __future__ import annotations

import torch
from torch import Tensor

from keyface.miniature.rendering.canvas import Canvas, Colour, blob, cover, ellipse, ramp, rgb
from keyface.miniature.rendering.features import Sheet
from keyface.miniature.rendering.geometry import Geometry


def paint_blush(canvas: Canvas, s: Sheet, g: Geometry) -> None:
    """Paint red in the cheeks, more of it as an attribute; a little on the nose."""
    a = g.has
    amount = torch.maximum(a["rosy_cheeks"], 0.75 * a["makeup"])
    cheek = blob(s.m - 0.43, s.y - 0.33 + 0.04 * a["smiling"], 0.15, 0.12)
    nose = blob(s.m, s.y - g.nose_y + 0.04, 0.10, 0.09)
    red = rgb(226, 92, 88, s.u)
    canvas.paint((0.16 + 0.40 * amount) * cheek + 0.10 * nose, red)


def paint_spots(canvas: Canvas, s: Sheet, g: Geometry, shadow: Colour) -> None:
    """Paint freckles over nose and cheeks, and up to two moles."""
    i = g.trait
    amount = ramp(i["freckles"], 0.35, 0.7)
    dots = (s.u * 50.0 + 2.0 * (s.y * 23.0).sin()).sin() * (s.y * 52.0 + 1.8 * (s.u * 19.0).cos()).sin()
    area = torch.maximum(blob(s.m - 0.34, s.y - 0.25, 0.22, 0.12), blob(s.m, s.y - 0.2, 0.14, 0.12))
    canvas.paint(0.62 * amount * ramp(dots, 0.50, 0.85) * ramp(area, 0.25, 0.6), shadow * 0.85)
    for name in ("mole_1", "mole_2"):
        # Moles sit on the cheeks and the chin's sides, never on an eye or the mouth.
        side = i[f"{name}_x"].sign()
        at_u = side * (0.30 + 0.18 * i[f"{name}_x"].abs())
        at_y = 0.46 + 0.16 * i[f"{name}_y"]
        size = 0.024 + 0.008 * i[name].clamp(min=0.0)
        spot = ellipse(s.u - at_u, s.y - at_y, size, size)
        canvas.paint(0.85 * ramp(i[name], 0.28, 0.32) * cover(spot, s.pixel), rgb(62, 36, 30, s.u))


def paint_wrinkles(canvas: Canvas, s: Sheet, g: Geometry, shadow: Colour) -> None:
    """Paint folds of age, and the fold that a smile makes beside the mouth."""
    a, old = g.has, g.old
    soft = s.pixel * 1.5
    # From the nose's wing down past the corner of the mouth.
    down = ((s.y - g.nose_y + 0.03) / (g.mouth_y - g.nose_y + 0.10)).clamp(0.0, 1.0)
    bend = (
        g.nose_width
        + 0.045
        + (g.mouth_width - g.nose_width + 0.05 + 0.03 * a["smiling"]) * down * (1.3 - 0.4 * down)
    )
    fold = (s.m - bend).abs() - 0.011
    span = ramp(down, 0.0, 0.15) * ramp(down, 1.0, 0.75)
    canvas.paint(torch.maximum(0.62 * old, 0.42 * a["smiling"]) * cover(fold, soft * 1.4) * span, shadow)
    canvas.paint(old * 0.22 * ramp(s.m - bend, 0.07, 0.0) * ramp(s.m - bend, -0.02, 0.0) * span, shadow)
    # Forehead.
    crease = (s.y - g.brow_y + 0.10 + 0.014 * (s.u * 9.0 + 4.0 * g.trait["brow_arch"]).sin()) * (1.0 / 0.075)
    lines = (crease - crease.round()).abs() * 0.075 - 0.008
    rows = ramp(crease, 0.4, 0.0) * ramp(crease, -2.6, -2.2)
    across = ramp(s.m, 0.40, 0.26)
    raised = torch.maximum(0.55 * old, 0.35 * a["surprised"])
    canvas.paint(raised * cover(lines, soft) * rows * across, shadow)
    # Crow's feet: three lines that spread from the eye's outer corner.
    dx, dy = s.m - g.eye_x - g.eye_width, s.y - g.eye_y
    spread = (dy / (dx + 0.03).clamp(min=0.03) * 1.6).clamp(-1.4, 1.4)
    feet = (spread - spread.round()).abs() * (dx + 0.03).clamp(min=0.02) / 1.6 - 0.006
    reach = ramp(dx, 0.025, 0.05) * ramp(dx, 0.17, 0.11) * cover(spread.abs() - 1.3, soft * 8.0)
    canvas.paint(0.60 * old * cover(feet, soft) * reach, shadow)
    # Sagging: a fold below the corner of the mouth, and jowls.
    sag = (s.m - g.mouth_width - 0.03 - 0.3 * (s.y - g.mouth_y)).abs() - 0.010
    low = ramp(s.y - g.mouth_y, 0.05, 0.09) * ramp(s.y - g.mouth_y, 0.22, 0.15)
    canvas.paint(0.45 * old * cover(sag, soft * 1.3) * low, shadow)


def mouth_hole(s: Sheet, g: Geometry) -> Tensor:
    """Compute the signed distance to the lips, which no hair covers."""
    line = g.mouth_y + g.mouth_curve * 0.1 + 0.2 * g.gape
    height = 0.5 * (g.lip_upper + g.lip_lower + g.gape + 0.07 * g.has["smiling"]) + 0.012
    bent = s.y - line + g.mouth_curve * (s.u / g.mouth_width) ** 2 * 0.9
    return ellipse(s.u, bent - 0.008, g.mouth_width + 0.035, height)


def paint_facial_hair(canvas: Canvas, s: Sheet, half: Tensor, g: Geometry, colour: Colour) -> None:
    """Paint stubble, beard, goatee and moustache, on the face and on the shell that a full beard adds.

    Args:
        canvas: The face's.
        s: Its coordinates.
        half: The head's half-width at each pixel.
        g: Measures.
        colour: The hair's.
    """
    a = g.has
    beard = a["beard"]
    grain = (s.u * 83.0 + 2.0 * (s.y * 23.0).sin()).sin() * (s.y * 41.0 + s.m * 30.0).cos()
    ragged = 0.016 * (s.u * 47.0 + 1.7 * (s.u * 21.0).sin()).sin()
    soft = s.pixel * 1.6 + 0.012

    hole = mouth_hole(s, g)
    cheek_line = 0.56 - 0.52 * ramp(s.m, 0.18, half * 0.98) ** 2 + 0.04 * g.trait["sideburns"]
    jaw = torch.maximum(cheek_line + ragged - s.y, -hole)
    jaw = torch.maximum(jaw, g.mouth_y - 0.12 - s.y + ramp(s.m, 0.2, 0.34) * -0.6)

    centre = 0.5 * (g.nose_y + 0.05 + g.mouth_y - g.lip_upper) - g.mouth_curve * 0.1
    droop = 0.30 * s.m * s.m + 0.5 * (s.m - g.mouth_width).clamp(min=0.0) - 0.6 * g.mouth_curve * s.m
    lip = (s.y - centre - droop).abs() - 0.052 * (1.0 - 0.45 * ramp(s.m, 0.12, 0.36))
    lip = torch.maximum(lip, s.m - g.mouth_width - 0.065)

    top, low = g.nose_y + 0.065 - 0.5 * g.mouth_curve, g.chin + 0.03
    patch = ellipse(
        s.u, s.y - 0.5 * (top + low), g.mouth_width + 0.075 - 0.02 * g.has["smiling"], 0.5 * (low - top)
    )
    ring = torch.maximum(patch, -hole)

    shaven = a["five_o_clock_shadow"] * (0.56 + 0.20 * grain)
    both = torch.minimum(jaw, lip)
    canvas.paint(shaven * ramp(both, 0.05, -0.07), colour * 0.35 + rgb(40, 42, 52, s.u) * 0.65)
    tone = colour * (0.86 + 0.20 * grain - 0.10 * ramp(s.y, g.chin - 0.25, g.chin))
    hairy = torch.maximum(
        cover(both + ragged, soft) * beard, cover(lip + ragged * 0.5, soft) * a["moustache"]
    )
    hairy = torch.maximum(hairy, cover(ring + ragged * 0.5, soft) * a["goatee"])
    canvas.paint(hairy * 0.96, tone.clamp(0.0, 1.0))
