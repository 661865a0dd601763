"""Pictures with any number of rendered faces in them, anywhere, of any size and turn; also with none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.celeba import REGION_IDS
from keyface.faces.squares import detector_squares
from keyface.miniature.population.parameters import Faces
from keyface.miniature.rendering import renderer

_MIP_LEVELS = 3
_KINDS = ("plain", "gradient", "noise", "stripes", "shapes", "faceless")


class Sprites(NamedTuple):
    """Rendered people to be put into scenes.

    Attributes:
        pictures: By level, each half as large as the one before: (N, 4, s, s) uint8, colour and opacity.
        landmarks: (N, 5, 2) pixels of the first level, from the picture's edge.
        sides: (N,), size of the faces there (`detector_squares`), pixels.
    """

    pictures: tuple[Tensor, ...]
    landmarks: Tensor
    sides: Tensor


@dataclass(frozen=True)
class Scene:
    """A picture with faces.

    Attributes:
        image: (3, H, W) in [-1, 1].
        landmarks: (n, 5, 2) pixels from the picture's edge, of all faces in it.
        visible: (n,) bool, whether most of the face is inside the picture.
    """

    image: Tensor
    landmarks: Tensor
    visible: Tensor


def render_sprites(faces: Faces, size: int = 128, chunk: int = 16) -> Sprites:
    """Render people and cut them out of their background."""
    colours, landmarks = [], []
    for start in range(0, len(faces), chunk):
        rendering = renderer.render(faces[start : start + chunk], size)
        person = (rendering.mask != REGION_IDS["background"]).float()[:, None]
        colours.append(torch.cat([rendering.image.add(1).mul(127.5), person * 255], dim=1).round().byte())
        landmarks.append(rendering.landmarks + 0.5)
    levels = [torch.cat(colours)]
    for _ in range(_MIP_LEVELS - 1):
        levels.append(F.avg_pool2d(levels[-1].float(), 2).round().byte())
    points = torch.cat(landmarks)
    return Sprites(tuple(levels), points, detector_squares(points)[:, 2])


class SceneMaker:
    """Draw scenes; a scene depends on its seed alone.

    Args:
        sprites: Who may be in them.
        height: Rows.
        width: Columns.
        sides: Least and greatest side of the faces in pixels (`detector_squares`).
        most: Greatest number of faces.
    """

    def __init__(
        self,
        sprites: Sprites,
        height: int,
        width: int,
        sides: tuple[float, float],
        most: int = 3,
    ) -> None:
        self.sprites, self.height, self.width = sprites, height, width
        self.sides, self.most = sides, most

    def draw(self, seed: int) -> Scene:
        """Return one scene."""
        random = _Random(seed)
        picture = self._background(random)
        landmarks: list[Tensor] = []
        for _ in range(random.integer(0, self.most)):
            self._add_face(picture, landmarks, random)
        image = _degrade(picture, random)
        points = torch.stack(landmarks) if landmarks else torch.zeros(0, 5, 2)
        inside = (points >= 0).all(-1) & (points[..., 0] < self.width) & (points[..., 1] < self.height)
        return Scene(image, points, inside.sum(dim=1) >= 4)

    def _add_face(self, picture: Tensor, landmarks: list[Tensor], random: _Random) -> None:
        who = random.integer(0, len(self.sprites.sides) - 1)
        low, high = (math.log(side) for side in self.sides)
        side = math.exp(random.between(low, high))
        turn = random.between(-math.pi, math.pi) if random.chance(0.1) else random.normal(0.35)
        turn = turn if abs(turn) < 1.1 or abs(turn) > 2 else turn / 2
        where = (random.between(0, self.width), random.between(0, self.height))
        mirrored = random.chance(0.5)
        placed = paste(
            picture,
            self.sprites,
            who,
            side,
            where,
            turn,
            mirrored,
            whole=random.chance(0.25),
            cover=landmarks,
        )
        if placed is not None:
            landmarks.append(placed)

    def _background(self, random: _Random) -> Tensor:
        """Draw what stands behind the faces."""
        kind = _KINDS[random.integer(0, len(_KINDS) - 1)]
        height, width = self.height, self.width
        picture = random.uniform(3, 1, 1).mul(2).sub(1).expand(3, height, width).clone()
        if kind == "gradient":
            ys, xs = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
            slopes = random.uniform(2, 3, 1, 1).mul(2).sub(1)
            picture = picture + slopes[0] * xs + slopes[1] * ys
        elif kind == "noise":
            picture = picture * 0.5 + random.clouds(height, width)
        elif kind == "stripes":
            angle, period = random.between(0, math.pi), random.between(3, 40)
            ys, xs = torch.arange(height)[:, None], torch.arange(width)[None]
            wave = torch.sin((xs * math.cos(angle) + ys * math.sin(angle)) * (2 * math.pi / period))
            picture = picture + wave * random.uniform(3, 1, 1) * 0.7
        elif kind in ("shapes", "faceless"):
            picture = picture * 0.5 + 0.4 * random.clouds(height, width)
        for _ in range(random.integer(3, 14) if kind == "shapes" else 0):
            _draw_shape(picture, random)
        for _ in range(random.integer(1, 3) if kind == "faceless" else 0):
            self._add_faceless(picture, random)
        return picture.clamp(-1, 1)

    def _add_faceless(self, picture: Tensor, random: _Random) -> None:
        """Put a part of a person into the picture that is no face: hair, a shoulder, a head from behind."""
        who = random.integer(0, len(self.sprites.sides) - 1)
        sprite = self.sprites.pictures[0][who].clone()
        points = self.sprites.landmarks[who]
        low, high = points.amin(0), points.amax(0)
        grown = 0.45 * (high - low)
        left, top = (max(int(value), 0) for value in low - grown)
        right, bottom = (int(value) + 1 for value in high + grown)
        patch = sprite[:3, top:bottom, left:right]
        flat = random.choice([sprite[:3, max(top - 4, 0), (left + right) // 2], random.bytes(3)])
        patch.copy_(flat[:, None, None].expand_as(patch))
        side = math.exp(random.between(math.log(self.sides[0]), math.log(self.sides[1])))
        where = (random.between(0, self.width), random.between(0, self.height))
        one = Sprites((sprite[None],), points[None], self.sprites.sides[who : who + 1])
        paste(picture, one, 0, side, where, random.normal(0.4), False, whole=False, cover=[])


def paste(
    picture: Tensor,
    sprites: Sprites,
    who: int,
    side: float,
    where: tuple[float, float],
    turn: float,
    mirrored: bool,
    *,
    whole: bool,
    cover: list[Tensor],
) -> Tensor | None:
    """Put one person into a picture (3, H, W), in place.

    Args:
        picture: In [-1, 1].
        sprites: Among whom they are.
        who: Their number.
        side: Size of the face in the picture, pixels.
        where: Middle of the face, (x, y).
        turn: Radians, clockwise as seen.
        mirrored: Whether left and right are swapped.
        whole: Whether their own background comes along.
        cover: Landmarks of faces that are there already and may not be covered.

    Returns:
        Their landmarks (5, 2), pixels from the picture's edge; None where they would cover somebody.
    """
    points = sprites.landmarks[who]
    scale = side / float(sprites.sides[who])
    middle = points.mean(0)
    turned = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    flip = torch.tensor([-1.0 if mirrored else 1.0, 1.0])
    landmarks = ((points - middle) * flip * scale) @ turned.T + torch.tensor(where)
    if mirrored:
        landmarks = landmarks[[1, 0, 2, 4, 3]]
    size = sprites.pictures[0].shape[-1]
    radius = 0.75 * size * scale
    for other in cover:
        if bool(((other - torch.tensor(where)).abs() < radius).all(dim=-1).any()):
            return None
    level = min(max(int(-math.log2(scale)), 0), len(sprites.pictures) - 1)
    sprite = sprites.pictures[level][who].float()
    height, width = picture.shape[-2:]
    ys, xs = torch.arange(height) + 0.5 - where[1], torch.arange(width) + 0.5 - where[0]
    reach = radius * math.sqrt(2)
    rows = (ys.abs() <= reach).nonzero().flatten()
    columns = (xs.abs() <= reach).nonzero().flatten()
    if not len(rows) or not len(columns):
        return landmarks
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    grid = torch.stack(torch.meshgrid(xs[left:right], ys[top:bottom], indexing="xy"), dim=-1)
    source = (grid @ turned) / scale * flip + middle
    sampled = F.grid_sample(
        sprite[None],
        (2 * source / size - 1)[None],
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )[0]
    inside = ((source >= 0) & (source <= size)).all(dim=-1).float()
    opacity = inside if whole else sampled[3] / 255
    part = picture[:, top:bottom, left:right]
    part.copy_(torch.lerp(part, sampled[:3] / 127.5 - 1, opacity.expand_as(part)))
    return landmarks


def _draw_shape(picture: Tensor, random: _Random) -> None:
    """Draw an ellipse or a box of one colour."""
    height, width = picture.shape[-2:]
    ys, xs = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None] + 0.5
    angle = random.between(0, math.pi)
    x, y = xs - random.between(0, width), ys - random.between(0, height)
    right, down = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    a, b = random.between(3, 40), random.between(3, 40)
    if random.chance(0.6):
        shape = (right / a) ** 2 + (down / b) ** 2 < 1
    else:
        shape = (right.abs() < a) & (down.abs() < b)
    picture[:, shape] = random.uniform(3, 1).mul(2).sub(1)


def _degrade(picture: Tensor, random: _Random) -> Tensor:
    """Change light and colour, blur, and add noise."""
    if random.chance(0.3):
        blur = random.integer(1, 2)
        picture = F.avg_pool2d(picture[None], 2 * blur + 1, 1, blur, count_include_pad=False)[0]
    gain = random.between(0.5, 1.3) * (1 + 0.15 * (random.uniform(3, 1, 1) - 0.5))
    picture = picture * gain + random.between(-0.3, 0.3)
    if random.chance(0.15):
        picture = picture.mean(0, keepdim=True).expand(3, -1, -1)
    noise = random.between(0, 0.1) if random.chance(0.7) else 0.0
    return (picture + noise * random.gauss(*picture.shape)).clamp(-1, 1)


class _Random:
    """Random numbers of one scene."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self._generator)

    def gauss(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)

    def bytes(self, count: int) -> Tensor:
        return torch.randint(0, 256, (count,), generator=self._generator, dtype=torch.uint8)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.uniform(1))

    def normal(self, deviation: float) -> float:
        return deviation * float(self.gauss(1))

    def integer(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (1,), generator=self._generator))

    def chance(self, probability: float) -> bool:
        return float(self.uniform(1)) < probability

    def choice(self, values: list[Tensor]) -> Tensor:
        return values[self.integer(0, len(values) - 1)]

    def clouds(self, height: int, width: int) -> Tensor:
        """Return noise of several sizes, (3, height, width) about [-1, 1]."""
        total = torch.zeros(3, height, width)
        for cells in (2, 5, 12, 30):
            coarse = self.uniform(1, 3, cells, cells).mul(2).sub(1) * self.between(0, 0.6)
            total += F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)[0]
        return total
