"""The head as a stack of horizontal ellipses: from pixels to its surface and back.

At height y the head is an ellipse of half-width a(y) and half-depth κ·a(y). Turned by the yaw ψ, the point at
surface angle θ appears at x = R sin(θ + φ), with R = a √(cos²ψ + κ² sin²ψ) and φ = atan2(κ sin ψ, cos ψ):
both directions are closed forms. Pitch shears the picture by depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keyface.miniature.rendering.geometry import HEAD_UNITS, Geometry

KAPPA = 1.04
"""Depth over width of the head."""

NOSE_PROTRUSION = 0.19


@dataclass(frozen=True)
class Pose:
    """The head's pose, each (B, 1, 1, 1)."""

    sin_yaw: Tensor
    cos_yaw: Tensor
    sin_phi: Tensor
    cos_phi: Tensor
    stretch: Tensor
    sin_pitch: Tensor
    sin_roll: Tensor
    cos_roll: Tensor
    x: Tensor
    y: Tensor
    zoom: Tensor


def pose_of(g: Geometry) -> Pose:
    """Read the pose from the nuisances."""
    n = g.photo
    sin_yaw, cos_yaw = n["yaw"].sin(), n["yaw"].cos()
    stretch = (cos_yaw**2 + (KAPPA * sin_yaw) ** 2).sqrt()
    return Pose(
        sin_yaw=sin_yaw,
        cos_yaw=cos_yaw,
        sin_phi=KAPPA * sin_yaw / stretch,
        cos_phi=cos_yaw / stretch,
        stretch=stretch,
        sin_pitch=n["pitch"].sin(),
        sin_roll=n["roll"].sin(),
        cos_roll=n["roll"].cos(),
        x=n["x"],
        y=n["y"],
        zoom=HEAD_UNITS / n["scale"],
    )


def pixel_grid(size: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return pixel centres in [-1, 1]: x (1, 1, 1, size) and y (1, 1, size, 1)."""
    centres = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * (2.0 / size) - 1.0
    return centres.view(1, 1, 1, size), centres.view(1, 1, size, 1)


def image_to_head(x: Tensor, y: Tensor, pose: Pose) -> tuple[Tensor, Tensor]:
    """Map image coordinates in [-1, 1] to the head's upright plane, in head units."""
    x, y = x * pose.zoom - pose.x, y * pose.zoom - pose.y
    return pose.cos_roll * x + pose.sin_roll * y, pose.cos_roll * y - pose.sin_roll * x


def head_to_image(x: Tensor, y: Tensor, pose: Pose) -> tuple[Tensor, Tensor]:
    """Invert `image_to_head`."""
    rolled_x = pose.cos_roll * x - pose.sin_roll * y
    rolled_y = pose.sin_roll * x + pose.cos_roll * y
    return (rolled_x + pose.x) / pose.zoom, (rolled_y + pose.y) / pose.zoom


@dataclass(frozen=True)
class Profile:
    """A stack of ellipses: the head itself, or a shell around it; each (B, 1, 1, 1)."""

    width: Tensor
    top: Tensor
    bottom: Tensor
    power: Tensor
    taper: Tensor
    cheek: Tensor

    def squared(self, y: Tensor) -> Tensor:
        """Return a(y)², continued below 0 beyond the top and the bottom."""
        return self.squared_and_slope(y)[0]

    def squared_and_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return a(y)² and its derivative by y."""
        below = y > 0.0
        reach = torch.where(below, self.bottom, -self.top)
        t = (y.abs() / reach).clamp(1e-4, 1.5)
        power = torch.where(below, self.power, 2.5)
        taper = torch.where(below, self.taper, 0.0)
        raised = torch.exp(power * t.log())
        rest, side = 1.0 - raised, 1.0 - taper * t * t
        base = rest * side * side
        slope = -(power * raised / t * side + 4.0 * taper * t * rest) * side
        offset = (y - 0.2) * (1.0 / 0.23)
        bump = self.cheek * torch.exp(-offset * offset)
        factor = 1.0 + bump
        area = self.width * self.width
        slope = slope * torch.where(below, 1.0, -1.0) / reach * factor * factor
        slope = slope - base * 2.0 * factor * bump * 2.0 * offset * (1.0 / 0.23)
        return area * base * factor * factor, area * slope


def head_profile(g: Geometry) -> Profile:
    """Return the skull and jaw."""
    return Profile(g.width, g.top, g.chin, g.jaw_power, g.jaw_taper, g.cheek)


@dataclass(frozen=True)
class Surface:
    """A visible surface by pixel, each (B, 1, H, W).

    `u` and `y` are canonical coordinates (beyond the silhouette those of the nearest rim), `z` the
    depth towards the viewer, `distance` the signed distance to the silhouette in head units (negative
    inside), and `normal` (not unit) leans out of the picture.
    """

    u: Tensor
    y: Tensor
    z: Tensor
    half: Tensor
    distance: Tensor
    normal: tuple[Tensor, Tensor, Tensor]


def surface_of(profile: Profile, pose: Pose, x: Tensor, y: Tensor, start: Tensor | None = None) -> Surface:
    """Find the point of the profile that each pixel shows; `x` and `y` are in the head's upright plane.

    Args:
        profile: The stack of ellipses.
        pose: Its pose.
        x: (B, 1, H, W).
        y: (B, 1, H, W).
        start: A first guess of the surface's y, to save an iteration.
    """
    stretch_squared = pose.stretch * pose.stretch
    x_squared = x * x
    level = y if start is None else start
    for _ in range(2 if start is None else 1):
        depth = (profile.squared(level) * stretch_squared - x_squared).clamp(min=0.0).sqrt()
        level = y - pose.sin_pitch * depth
    squared, slope = profile.squared_and_slope(level)
    squared, half_slope = squared * stretch_squared, slope * (0.5 * stretch_squared)
    rest = squared - x_squared
    z = rest.clamp(min=0.0).sqrt()
    distance = -0.5 * rest * torch.rsqrt(x_squared + half_slope * half_slope + 1e-4)
    radius = squared.clamp(min=1e-4).sqrt()
    s = (x / radius).clamp(-1.0, 1.0)
    c = (1.0 - s * s).clamp(min=0.0).sqrt()
    sine = s * pose.cos_phi - c * pose.sin_phi
    behind = (c * pose.cos_phi + s * pose.sin_phi) < 0.0
    half = radius / pose.stretch
    u = half * torch.where(behind, sine.sign() * (2.0 - sine.abs()), sine)
    return Surface(u, level, z, half, distance, (x, -half_slope, z))


def surface_to_head(profile: Profile, pose: Pose, u: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where a surface point appears in the head's upright plane, and its depth: (x, y, z)."""
    half = profile.squared(y).clamp(min=1e-4).sqrt()
    ratio = (u / half).clamp(-2.0, 2.0)
    behind = ratio.abs() > 1.0
    sine = torch.where(behind, ratio.sign() * (2.0 - ratio.abs()), ratio).clamp(-1.0, 1.0)
    cosine = (1.0 - sine * sine).clamp(min=0.0).sqrt()
    cosine = torch.where(behind, -cosine, cosine)
    radius = half * pose.stretch
    x = radius * (sine * pose.cos_phi + cosine * pose.sin_phi)
    z = radius * (cosine * pose.cos_phi - sine * pose.sin_phi)
    return x, y + pose.sin_pitch * z.clamp(min=0.0), z


def nose_shift(u: Tensor, y: Tensor, g: Geometry, pose: Pose) -> Tensor:
    """Return how far the protruding nose hides the cheek behind it, in u: the parallax of its height."""
    down = (y - g.eye_y) / (g.nose_y - g.eye_y)
    rise = down.clamp(0.0, 1.0) * (1.0 - ((down - 1.0) * (1.0 / 0.35)).clamp(0.0, 1.0))
    return NOSE_PROTRUSION * pose.sin_yaw * rise * torch.exp(-(u * u) * (1.0 / 0.22**2))


def warp_nose(u: Tensor, y: Tensor, g: Geometry, pose: Pose) -> Tensor:
    """Map the surface u of a pixel → the canonical u of what is drawn there."""
    return u - nose_shift(u, y, g, pose)


def unwarp_nose(u: Tensor, y: Tensor, g: Geometry, pose: Pose) -> Tensor:
    """Invert `warp_nose` by fixed point (its slope is at most 0.35)."""
    warped = u
    for _ in range(8):
        warped = u + nose_shift(warped, y, g, pose)
    return warped
