"""Which dense landmarks run around which part of a face: public facts about two orders of points."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Outlines:
    """The outlines of one order of points.

    Attributes:
        parts: CelebAMask-HQ's name → the points around that part, in order. Left and right are the person's.
        jaw: From the ear that is on the left in the picture, over the chin, to the other ear.
        forehead: Back from there, over the forehead.
        raised: How far above the points of `forehead` the hair begins, in distances from eyes to mouth.
        eyes: Points around the eye that is on the left in the picture, and around the other one.
        mouth: The two corners of the mouth.
    """

    parts: Mapping[str, tuple[int, ...]]
    jaw: tuple[int, ...]
    forehead: tuple[int, ...]
    raised: float
    eyes: tuple[tuple[int, ...], tuple[int, ...]]
    mouth: tuple[int, int]


_MESH_RIGHT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
_MESH_LEFT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
_MESH_UPPER_INSIDE = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_MESH_LOWER_INSIDE = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)

MESH = Outlines(
    parts={
        "nose": (168, 351, 419, 456, 420, 360, 358, 278, 327, 326, 2, 97, 98, 48, 129, 131, 198,
                 236, 196, 122),
        "l_eye": _MESH_LEFT_EYE,
        "r_eye": _MESH_RIGHT_EYE,
        "l_brow": (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
        "r_brow": (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
        "u_lip": (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, *_MESH_UPPER_INSIDE[::-1]),
        "l_lip": (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, *_MESH_LOWER_INSIDE[::-1]),
        "mouth": (*_MESH_UPPER_INSIDE, *_MESH_LOWER_INSIDE[-2:0:-1]),
    },
    jaw=(234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397,
         288, 361, 323, 454),
    forehead=(356, 389, 251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21, 162, 127),
    raised=0.0,
    eyes=(_MESH_RIGHT_EYE, _MESH_LEFT_EYE),
    mouth=(61, 291),
)  # fmt: skip
"""The 468 points of MediaPipe's face mesh."""

IBUG = Outlines(
    parts={
        "nose": (27, 35, 34, 33, 32, 31),
        "l_eye": (42, 43, 44, 45, 46, 47),
        "r_eye": (36, 37, 38, 39, 40, 41),
        "l_brow": (22, 23, 24, 25, 26),
        "r_brow": (17, 18, 19, 20, 21),
        "u_lip": (48, 49, 50, 51, 52, 53, 54, 64, 63, 62, 61, 60),
        "l_lip": (48, 59, 58, 57, 56, 55, 54, 64, 65, 66, 67, 60),
        "mouth": (60, 61, 62, 63, 64, 65, 66, 67),
    },
    jaw=tuple(range(17)),
    forehead=(26, 25, 24, 19, 18, 17),
    raised=0.55,
    eyes=((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47)),
    mouth=(48, 54),
)
"""The 68 points of the iBUG set."""

OUTLINES: Mapping[int, Outlines] = {68: IBUG, 468: MESH, 478: MESH}
"""By number of points; 478 are the mesh with ten of the irises."""
