"""The crop that follows a face: where it lies, cut out of the frame, and put back.

An oriented square is (centre x, centre y, side, roll): pixels as they are shown, edges and not pixel
centres (a whole image is 0 … W), roll in radians and clockwise as seen. Where a file's pixels are not
square, x counts in heights of a pixel: x on the screen is the stored x times `pixel_aspect`.
"""

from keyface.faces.crops.placement import FFHQ, Placement, face_squares
from keyface.faces.crops.sampling import Border, cut, put_back, square_corners
from keyface.faces.crops.smoothing import fades, smooth_squares

__all__ = [
    "FFHQ",
    "Border",
    "Placement",
    "cut",
    "face_squares",
    "fades",
    "put_back",
    "smooth_squares",
    "square_corners",
]
