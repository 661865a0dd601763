"""Skin: its colour, and the light on a head with cheeks, brows, nose and chin."""

from __future__ import annotations

import torch
from torch import Tensor

from keyface.miniature.rendering.canvas import Colour, blob
from keyface.miniature.rendering.geometry import Geometry
from keyface.miniature.rendering.head import Surface

_TONES = ((255, 226, 205), (246, 203, 168), (226, 174, 130), (184, 128, 88), (128, 84, 58))
"""Skin from light to dark."""

_SHADOW = (0.66, 0.52, 0.49)
"""What shadow leaves of each channel: skin shadows are warm."""


def skin_colour(g: Geometry) -> Colour:
    """Return the lit skin's colour, (B, 3, 1, 1)."""
    tone = g.trait["skin_tone"]
    position = (tone + 1.0) * 0.5 * (len(_TONES) - 1)
    colour = torch.zeros_like(tone).expand(-1, 3, -1, -1)
    for index, entry in enumerate(_TONES):
        weight = (1.0 - (position - index).abs()).clamp(min=0.0)
        colour = colour + weight * tone.new_tensor(entry).view(1, 3, 1, 1) / 255
    hue = g.trait["skin_hue"] * tone.new_tensor((0.018, -0.004, -0.035)).view(1, 3, 1, 1)
    aged = (colour.mean(dim=1, keepdim=True) - colour) * 0.15 * g.old
    return (colour + hue + aged).clamp(0.0, 1.0)


def lit(colour: Colour, light: Tensor) -> Colour:
    """Put a colour under light (B, 1, H, W): 1 is fully lit, 0 full shadow, more is a sheen."""
    shadow = colour * light.new_tensor(_SHADOW).view(1, 3, 1, 1)
    return torch.lerp(shadow, colour, light)


def light_direction(g: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """Return a unit vector towards the light: x to the right, y down, z to the viewer."""
    x, y = g.photo["light_x"], g.photo["light_y"]
    scale = torch.rsqrt(x * x + y * y + 1.0)
    return x * scale, y * scale, scale


def diffuse(normal: tuple[Tensor, Tensor, Tensor], g: Geometry) -> Tensor:
    """Compute soft light on a surface with this normal (any length), about 0 in shadow and 1 lit."""
    x, y, z = normal
    light_x, light_y, light_z = light_direction(g)
    dot = (x * light_x + y * light_y + z * light_z) * torch.rsqrt(x * x + y * y + z * z + 1e-4)
    # Wrapped: light reaches round the edge, as it does from a large window.
    wrapped = (dot * 0.72 + 0.28).clamp(min=0.0)
    return wrapped * (0.9 * g.photo["light_strength"]) + 0.08


def face_light(face: Surface, u: Tensor, m: Tensor, g: Geometry) -> Tensor:
    """Light the face, whose relief is a sum of Gaussian hills; `m` is |u|, mirrored about the nose."""
    y = face.y
    mirror = u.sign()
    slope_u = torch.zeros_like(u)
    slope_y = torch.zeros_like(u)
    smile = g.has["smiling"]
    hills: tuple[tuple[Tensor | float, Tensor | float, Tensor | float, Tensor | float, float], ...] = (
        (0.034, 0.0, 0.5 * (g.eye_y + g.nose_y) - 0.03, 0.085, 0.20),
        (
            0.062 + 0.02 * g.trait["nose_tip"],
            0.0,
            g.nose_y - 0.055,
            0.085 + 0.25 * (g.nose_width - 0.13),
            0.085,
        ),
        (0.026, g.nose_width * 0.78, g.nose_y - 0.03, 0.05, 0.055),
        (0.05 + 0.045 * smile + 0.02 * g.trait["cheekbones"], 0.40, 0.29 - 0.03 * smile, 0.17, 0.15),
        (0.028 + 0.016 * g.has["male"], 0.25, g.brow_y + 0.02, 0.2, 0.075),
        (0.045 + 0.02 * g.has["male"], 0.0, g.chin - 0.15, 0.15, 0.10),
        (-0.036, g.eye_x - 0.06, g.eye_y - 0.04, 0.15, 0.10),
        (-0.022, 0.0, g.mouth_y + g.lip_lower + 0.07, 0.16, 0.05),
    )
    for height, at_u, at_y, width, tall in hills:
        mirrored = not isinstance(at_u, float)
        du = (m if mirrored or at_u != 0.0 else u) - at_u
        dy = y - at_y
        hill = height * blob(du, dy, width, tall)
        pull = du * hill * (-2.0 / (width * width))
        slope_u = slope_u + (pull * mirror if mirrored or at_u != 0.0 else pull)
        slope_y = slope_y + dy * hill * (-2.0 / (tall * tall))
    x, n_y, z = face.normal
    relief = 0.78
    return diffuse((x - relief * slope_u, n_y - relief * slope_y, z + 0.12), g)


def occlusion(m: Tensor, y: Tensor, g: Geometry) -> Tensor:
    """Darken where little light reaches: sockets, under the nose and the lip; (B, 1, H, W)."""
    under_nose = blob(m, y - g.nose_y - 0.035, g.nose_width * 1.0, 0.035)
    socket = blob(m - g.eye_x + 0.07, y - g.eye_y + 0.055, 0.16, 0.075)
    inner = blob(m - 0.115, y - g.eye_y + 0.02, 0.05, 0.10)
    lip = blob(m, y - g.mouth_y - 0.6 * g.gape - g.lip_lower - 0.045, g.mouth_width * 0.6, 0.03)
    return 0.30 * under_nose + 0.22 * socket + 0.22 * inner + 0.18 * lip
