"""Hair: a shell around the skull, and what hangs down behind it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keyface.miniature.rendering.canvas import Colour, cover, ellipse, ramp
from keyface.miniature.rendering.geometry import Geometry
from keyface.miniature.rendering.head import Pose, Profile, Surface, surface_of

_BLACK, _BROWN, _BLOND, _GRAY, _AUBURN = (
    (40, 35, 39), (104, 66, 42), (224, 186, 116), (182, 182, 186), (158, 76, 42),
)  # fmt: skip


def hair_colour(g: Geometry) -> Colour:
    """Return (B, 3, 1, 1): auburn where no colour is set; the old grey a little without being gray-haired."""
    a = g.has
    weights = (a["black_hair"], a["brown_hair"], a["blond_hair"], a["gray_hair"])
    rest = (1.0 - sum(weights, torch.zeros_like(a["male"]))).clamp(min=0.0)
    colour = torch.zeros_like(a["male"]).expand(-1, 3, -1, -1)
    for weight, entry in zip((*weights, rest), (_BLACK, _BROWN, _BLOND, _GRAY, _AUBURN), strict=True):
        colour = colour + weight * weight.new_tensor(entry).view(1, 3, 1, 1) / 255
    gray = colour.new_tensor(_GRAY).view(1, 3, 1, 1) / 255
    colour = torch.lerp(colour, gray, 0.20 * g.old * (1.0 - a["gray_hair"]))
    return (colour * (1.0 + 0.13 * g.trait["hair_shade"])).clamp(0.02, 1.0)


@dataclass(frozen=True)
class Hair:
    """The hair by pixel, each (B, 1, H, W) but the colour (B, 3, H, W).

    `front` covers the head, `back` hangs behind it, `roof` is the signed distance below the hairline
    (positive on the bare face, for the shadow there).
    """

    shell: Surface
    front: Tensor
    back: Tensor
    roof: Tensor
    colour: Colour


def hair_profile(g: Geometry) -> Profile:
    """Return the shell: wider and higher than the skull, hanging straight or flared where it is long."""
    volume = g.trait["hair_volume"]
    full = 0.5 + 0.5 * ramp(g.hair_long, -0.6, 0.2)
    flare = ramp(g.hair_long, -0.1, 0.5)
    return Profile(
        width=g.width + 0.030 + (0.045 + 0.035 * volume) * full,
        top=g.top - 0.115 - 0.055 * volume,
        bottom=torch.full_like(volume, 2.0),
        power=torch.full_like(volume, 40.0),
        taper=0.64 - flare * (0.68 + 0.20 * volume),
        cheek=torch.zeros_like(volume),
    )


def hang_profile(g: Geometry) -> tuple[Tensor, Tensor]:
    """Return how low the hair behind the head hangs and whether there is any: (bottom y, amount 0…1)."""
    return 0.42 + 1.15 * ramp(g.hair_long, -0.15, 1.0), ramp(g.hair_long, -0.10, 0.0)


def sway(y: Tensor, g: Geometry, amount: float) -> Tensor:
    """Return by how much waves widen the hair's outline at each height, about 1."""
    return 1.0 - amount * ramp(g.trait["hair_wave"], 0.0, 0.7) * (y * 13.0 + 1.0).sin()


def back_hair_x(x: Tensor, pose: Pose, inverse: bool = False) -> Tensor:
    """Apply the parallax of the sheet behind the head: upright plane → the sheet's own x, or back."""
    shift = 0.30 * pose.sin_yaw
    return x - shift if inverse else x + shift


def strands(nu: Tensor, y: Tensor, g: Geometry, pixel: Tensor) -> Tensor:
    """Return light and dark along the strands, about ± 1; `nu` numbers the strands across.

    The finest are left out where pixels are too coarse for them, so all sizes show one picture.
    """
    wave = ramp(g.trait["hair_wave"], -0.25, 0.8)
    nu = nu + wave * 0.055 * (y * 12.0 + 1.5 * (nu * 4.0).sin()).sin()
    texture = 0.45 * (nu * 13.0 + 0.8).sin() + 0.38 * (nu * 29.0 + 1.9 * (nu * 7.0).sin()).sin()
    for frequency, amount in ((61.0, 0.34), (103.0, 0.22)):
        fade = (1.5 - frequency * pixel * 0.55).clamp(0.0, 1.0)
        texture = texture + amount * fade * (nu * frequency + 1.3 * (nu * 17.0).sin()).sin()
    return texture


def grow_hair(g: Geometry, pose: Pose, x: Tensor, y: Tensor, face: Surface, pixel: Tensor) -> Hair:
    """Return where the hair is and what it looks like; `x`, `y` in the head's upright plane."""
    i, a = g.trait, g.has
    wave = ramp(i["hair_wave"], 0.0, 0.7)
    profile = hair_profile(g)
    # Waves swell the outline to and fro.
    shell = surface_of(profile, pose, x * sway(y, g, 0.030), y, start=face.y)
    u, m, width = shell.u, shell.u.abs(), profile.width
    part = i["hair_part"] * 0.30
    nu = (u - part) / (0.34 + 0.62 * (shell.y - g.top + 0.12).clamp(min=0.0).sqrt())
    texture = strands(nu, shell.y, g, pixel)

    # Hairline: across the forehead, receding over the temples, and down before the ears.
    male = a["male"]
    recede = ramp(i["hairline"], 0.0, 1.0) * (0.6 + 0.4 * male) + 0.10 * g.old * male
    height = 0.60 + 0.04 * i["skull_height"] + 0.035 * i["hairline"] + 0.10 * recede
    temple = ((m - 0.42 * width) / (0.16 * width)) ** 2
    line = -height + 0.10 * (m / (0.5 * width)).clamp(max=1.0) ** 2 - 0.22 * recede * torch.exp(-temple)
    burns = 0.02 + (0.20 * ramp(i["sideburns"], 0.1, 0.6)) * male
    line = line + (height - 0.10 + burns) * ramp(m, 0.62 * width, 0.90 * width)
    line = line + 0.010 * texture
    # Bangs: a fringe to the brows, combed to one side and ragged at the end.
    comb = 0.10 * i["hair_part"] * (u / width)
    fringe = (
        g.eye_y
        - 0.175
        + comb
        + 0.05 * (m / (0.5 * width)) ** 2
        + 0.028 * (nu * 24.0 + 2.0 * (nu * 9.0).sin()).sin()
    )
    fringe = torch.maximum(fringe, line)
    # A hat keeps the fringe under itself.
    line = torch.lerp(line, fringe, a["bangs"] * (1.0 - a["hat"]) * ramp(m, 0.80 * width, 0.68 * width))
    # Beyond the ears short hair goes down to the nape, long hair hangs as far as it reaches.
    bottom, hanging = hang_profile(g)
    end = bottom + 0.03 * texture - 0.12 * (m / width) ** 2
    nape = 0.34 + 0.02 * texture
    line = torch.lerp(line, torch.maximum(line, nape), ramp(m, 1.02 * width, 1.16 * width))
    loose = hanging * ramp(i["hair_tuck"], 0.25, 0.15)
    curtain = ramp(m, (0.80 - 0.05 * wave) * width, 0.90 * width)
    line = torch.lerp(line, torch.maximum(line, end), curtain * loose)

    roof = shell.y - line
    # The line is steep beside the face; dividing by its slope makes the drop below it a distance.
    slope = line[..., 1:] - line[..., :-1]
    slope = torch.cat([slope, slope[..., -1:]], dim=-1) / pixel
    edge = roof * torch.rsqrt(1.0 + slope * slope)
    edge = torch.maximum(edge, shell.y - torch.lerp(nape, torch.maximum(end, nape), loose) - 0.02)
    grown = 1.0 - a["bald"]
    front = cover(torch.maximum(shell.distance, edge), pixel * 1.2)
    # What the shell shows beside the head is hair of its far side, which hangs to where the sides end.
    beside = cover(pixel * 0.4 - face.distance, pixel)
    beside = beside * torch.maximum(ramp(y, 0.30, 0.10), ramp(x.abs(), 0.62 * width, 0.70 * width))
    low = torch.lerp(burns - 0.02 + 0.010 * texture, end, loose)
    front = (
        torch.maximum(front, beside * cover(torch.maximum(shell.distance, shell.y - low), pixel * 1.2))
        * grown
    )

    # Behind the head: a sheet at the depth of the nape, which parallax moves against the face.
    bx = back_hair_x(x, pose) * sway(y, g, 0.035)
    spread = width * (0.98 + 0.10 * ramp(y, 0.2, 1.2) * (1.0 + 0.5 * i["hair_volume"]))
    sheet = torch.maximum(bx.abs() - spread, y - bottom + 0.25 * (bx / width) ** 2 + 0.03 * texture)
    sheet = torch.maximum(sheet, ellipse(bx, (y - 0.30).clamp(max=0.0), spread, 0.95))
    back = cover(sheet, pixel * 1.2) * hanging * grown

    return Hair(shell, front, back, roof, _shaded(shell, texture, g))


def _shaded(shell: Surface, texture: Tensor, g: Geometry) -> Colour:
    """Light the hair's colour, with a band of sheen across the strands."""
    x, y, z = shell.normal
    light_x, light_y = g.photo["light_x"], g.photo["light_y"]
    bright = (x * light_x + y * light_y + z) * torch.rsqrt(x * x + y * y + z * z + 1e-3)
    tone = 0.60 + 0.34 * bright.clamp(-0.3, 1.3) + 0.13 * texture
    u = shell.u - 0.25 * light_x
    sheen = torch.exp(-(((shell.y + 0.80 - 0.20 * u * u) * (1.0 / 0.12)) ** 2)) * (
        0.55 + 0.45 * texture
    ).clamp(0.0, 1.0)
    streak = g.old * (1.0 - g.has["gray_hair"]) * ramp(texture, 0.25, 0.8) * 0.42
    base = torch.lerp(hair_colour(g), tone.new_tensor((0.78, 0.78, 0.80)).view(1, 3, 1, 1), streak)
    colour = base * tone + sheen * 0.16 * (0.35 + base)
    return colour.clamp(0.0, 1.0)
