"""Regions of a face drawn from dense landmarks."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from keyface.faces.regions.outlines import OUTLINES, Outlines

Points = NDArray[np.float64]

_PADS = {
    "skin": 0.06,
    "nose": 0.05,
    "l_brow": 0.12,
    "r_brow": 0.12,
    "l_eye": 0.05,
    "r_eye": 0.05,
    "u_lip": 0.05,
    "l_lip": 0.05,
}
"""How much further than its points a part goes, in distances from eyes to mouth: lashes, the sides of the
face, brows that are a line only or lie a little lower than a network says."""

_FINE = 512
"""Least side of a drawing: Pillow draws to the pixel only, small crops are averages of finer drawings."""

_FAR = 100.0
_NECK = 2.5
_KEPT = 0.92
"""Of the face's outline: hair may hang over its rim, and ears begin there."""


def draw_regions(points: Points, names: Collection[str], size: int) -> NDArray[np.uint8]:
    """Draw where named regions of a face are, or at most can be.

    Inside the face the parts are told apart as in a label map: what is not named is left out. Ears, hair,
    neck and clothes have no landmarks; for them all the room is taken in which they can be.

    Args:
        points: (m, 2) in pixels of the picture, edges counted; an order of points in `OUTLINES`.
        names: Of `keyface.celeba.REGIONS`.
        size: Rows and columns.

    Returns:
        (size, size): 255 inside, 0 outside, in between on the edge.
    """
    scale = -(-_FINE // size)
    drawing = _Drawing(scale * points.astype(np.float64), OUTLINES[len(points)], scale * size)
    for name in names:
        drawing.surroundings(name)
    drawing.face(names)
    if "eye_g" in names:
        drawing.glasses()
    return np.asarray(drawing.picture.reduce(scale))


class _Drawing:
    """A mask in the making, and the face's own axes: origin between the eyes, 1 from there to the mouth."""

    def __init__(self, points: Points, outlines: Outlines, size: int) -> None:
        self.points, self.outlines = points, outlines
        self.picture = Image.new("L", (size, size))
        self._pen = ImageDraw.Draw(self.picture)
        first, second = (points[list(eye)].mean(axis=0) for eye in outlines.eyes)
        self.origin = (first + second) / 2
        across, down = second - first, points[list(outlines.mouth)].mean(axis=0) - self.origin
        # As in `crops.face_squares`: what the eyes take for horizontal, and what eyes and mouth do.
        axis = across + np.array([down[1], -down[0]])
        axis /= max(float(np.hypot(*axis)), 1e-9)
        self.axes = np.stack([axis, [-axis[1], axis[0]]])
        self.unit = max(float(np.hypot(*across)), float(np.hypot(*down)), 1e-9)
        jaw, forehead = self._own(outlines.jaw), self._own(outlines.forehead)
        forehead[:, 1] -= outlines.raised
        self.jaw = jaw
        self.oval = np.concatenate([jaw, forehead])
        brows = self._own((*outlines.parts["l_brow"], *outlines.parts["r_brow"]))
        self.brow_line = float(brows[:, 1].max())

    def surroundings(self, name: str) -> None:
        """Fill all the room in which something around the face can be."""
        left, right = self.jaw[0, 0], self.jaw[-1, 0]
        chin = float(self.jaw[:, 1].max())
        match name:
            case "background" | "hair":
                self._box(-_FAR, -_FAR, _FAR, _FAR)
            case "hat":
                self._box(-_FAR, -_FAR, _FAR, 0.0)
            case "cloth":
                self._box(-_FAR, chin - 0.1, _FAR, _FAR)
            case "l_ear":
                self._box(right - 0.15, -0.45, right + 0.6, 1.15)
            case "r_ear":
                self._box(left - 0.6, -0.45, left + 0.15, 1.15)
            case "ear_r":
                self._box(left - 0.6, 0.2, left + 0.2, 2.4)
                self._box(right - 0.2, 0.2, right + 0.6, 2.4)
            case "neck" | "neck_l":
                low = self.jaw[self.jaw[:, 1] > 1.0]
                if len(low) > 1:
                    self._polygon(np.concatenate([low, low[::-1] + np.array([0.0, _NECK])]))

    def face(self, names: Collection[str]) -> None:
        """Draw the face and its parts, the named ones white and the others black."""
        if "skin" in names:
            self._polygon(self.oval, pad=_PADS["skin"])
        else:
            kept = self.oval.mean(axis=0) + _KEPT * (self.oval - self.oval.mean(axis=0))
            if {"hair", "hat"} & set(names):  # which may hang over the forehead
                kept[:, 1] = np.maximum(kept[:, 1], self.brow_line)
            self._polygon(kept, fill=0)
        for name, outline in self.outlines.parts.items():
            self._polygon(self._own(outline), 255 if name in names else 0, _PADS.get(name, 0.0))

    def glasses(self) -> None:
        """Fill where glasses can be: around the eyes and to the ears."""
        left, right = self.jaw[0, 0], self.jaw[-1, 0]
        self._box(left - 0.1, -0.5, right + 0.1, 0.6)

    def _own(self, outline: Sequence[int]) -> Points:
        """Return points (k, 2) along the face's own axes."""
        own: Points = (self.points[list(outline)] - self.origin) @ self.axes.T / self.unit
        return own

    def _box(self, left: float, top: float, right: float, bottom: float) -> None:
        self._polygon(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]))

    def _polygon(self, own: Points, fill: int = 255, pad: float = 0.0) -> None:
        """Fill a polygon (k, 2), along the face's own axes, and a line of `pad` to either side of it."""
        places = self.origin + self.unit * own @ self.axes  # Pillow takes the pixels in which corners lie
        corners = [(float(x), float(y)) for x, y in places]
        self._pen.polygon(corners, fill=fill)
        radius = round(pad * self.unit)
        if radius > 0:
            self._pen.line([*corners, corners[0]], fill=fill, width=2 * radius)
            for x, y in corners:  # where lines leave gaps
                self._pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
