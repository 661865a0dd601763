"""Regions drawn from dense landmarks, against polygons filled by another library and rectangles by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from keyface.celeba import REGIONS
from keyface.faces.regions.drawing import draw_regions
from keyface.faces.regions.outlines import IBUG, MESH, OUTLINES, Outlines

SIZE = 200
INNER = ("nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "mouth")
WHOLE_FACE = ("skin", *INNER)


def face() -> NDArray[np.float64]:
    """68 points: eyes at (80, 90) and (120, 90), the mouth at (100, 130), a jaw that is half an ellipse."""
    points = np.zeros((68, 2))
    angles = np.linspace(math.pi, 0, 17)
    points[0:17] = np.stack([100 + 45 * np.cos(angles), 90 + 75 * np.sin(angles)], axis=1)
    points[17:22] = [[68, 80], [74, 78], [80, 77], [86, 78], [92, 80]]
    points[22:27] = [[108, 80], [114, 78], [120, 77], [126, 78], [132, 80]]
    points[27:31] = [[100, 90], [100, 96], [100, 103], [100, 110]]
    points[31:36] = [[91, 115], [95, 116], [100, 117], [105, 116], [109, 115]]
    for first, x in ((36, 80), (42, 120)):
        points[first : first + 6] = [
            [x - 8, 90], [x - 3, 87], [x + 3, 87], [x + 8, 90], [x + 3, 93], [x - 3, 93],
        ]  # fmt: skip
    points[48:60] = [
        [84, 130], [90, 126], [96, 124], [100, 125], [104, 124], [110, 126], [116, 130], [110, 136],
        [104, 138], [100, 138], [96, 138], [90, 136],
    ]  # fmt: skip
    points[60:68] = [
        [86, 130], [94, 128], [100, 128], [106, 128], [114, 130], [106, 132], [100, 132], [94, 132],
    ]  # fmt: skip
    return points


def shown(names: tuple[str, ...], points: NDArray[np.float64] | None = None) -> NDArray[np.bool_]:
    return draw_regions(face() if points is None else points, names, SIZE) > 127


def filled(outline: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Fill a polygon of (x, y), edges counted, by its pixels' centres."""
    mask: NDArray[np.bool_] = polygon2mask((SIZE, SIZE), outline[:, ::-1] - 0.5)
    return mask


def near(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Grow a mask to all sides."""
    padded = np.pad(mask, pixels)
    steps = range(2 * pixels + 1)
    grown = [padded[y : y + SIZE, x : x + SIZE] for y in steps for x in steps]
    return np.logical_or.reduce(grown)


def test_the_mouth_is_the_polygon_of_its_points() -> None:
    drawn, expected = shown(("mouth",)), filled(face()[list(IBUG.parts["mouth"])])
    assert not (drawn & ~near(expected, 2)).any()
    assert not (expected & ~near(drawn, 1)).any()
    assert drawn.sum() == pytest.approx(expected.sum(), rel=0.35)  # 4 pixels high, half is rim


@pytest.mark.parametrize("size", [128, 512])
def test_a_rectangle_is_filled_to_its_edges(size: int) -> None:
    # The inside of the mouth is 60 wide and high, and its middle here or some parts of a pixel further.
    mouth = np.array([[-30, -30], [-10, -30], [10, -30], [30, -30], [30, 0], [30, 30], [0, 30], [-30, 30]])
    errors = []
    for part in (0.1, 0.35, 0.6, 0.85):
        points = face()
        points[60:68] = mouth + np.array([70 + part, 80 + part])
        mask = draw_regions(points, ("mouth",), size) / 255.0
        assert mask.sum() == pytest.approx(60 * 60, rel=0.04)
        for axis, middle in ((0, 70 + part), (1, 80 + part)):
            errors.append((mask.sum(axis=axis) * (np.arange(size) + 0.5)).sum() / mask.sum() - middle)
    # Corners are rounded to whole pixels, to either side.
    assert np.abs(errors).max() <= 0.55
    assert np.mean(errors) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(
    ("name", "pad"), [("l_eye", 2.0), ("r_eye", 2.0), ("l_brow", 4.8), ("r_brow", 4.8), ("nose", 2.0)]
)
def test_parts_go_beyond_their_points_by_a_share_of_the_face(name: str, pad: float) -> None:
    """From the eyes to the mouth it is 40 pixels: .05 of it are 2, .12 are 4.8."""
    outline = face()[list(IBUG.parts[name])]
    drawn = shown((name,))
    assert not (filled(outline) & ~drawn).any()
    rows, columns = np.nonzero(drawn)
    assert columns.min() == pytest.approx(outline[:, 0].min() - pad, abs=1.2)
    assert columns.max() + 1 == pytest.approx(outline[:, 0].max() + pad, abs=1.2)
    assert rows.min() == pytest.approx(outline[:, 1].min() - pad, abs=1.2)
    assert rows.max() + 1 == pytest.approx(outline[:, 1].max() + pad, abs=1.2)


def test_left_is_the_persons_left() -> None:
    for name in ("l_eye", "l_brow", "l_ear"):
        assert np.nonzero(shown((name,)))[1].min() > 100, name
        assert np.nonzero(shown((name.replace("l_", "r_"),)))[1].max() < 100, name


def test_parts_of_the_face_fill_it_without_holes_and_skin_leaves_them_out() -> None:
    whole, skin = shown(WHOLE_FACE), shown(("skin",))
    assert not (skin & ~whole).any()
    rows, columns = np.nonzero(whole)
    for row in np.unique(rows):
        reach = columns[rows == row]
        assert reach.max() - reach.min() + 1 == len(reach), f"a hole in row {row}"
    for name in INNER:
        y, x = face()[list(IBUG.parts[name])].mean(axis=0)[::-1].astype(int)
        assert whole[y, x], name
        assert not skin[y, x], name
    # The forehead begins .55 distances from eyes to mouth (22 pixels) above the brows (77).
    assert rows.min() == pytest.approx(77 - 22, abs=4)
    assert rows.max() == pytest.approx(165, abs=4)


def test_beards_keep_out_of_eyes_and_nose_but_not_of_the_neck() -> None:
    mask = shown(("skin", "mouth", "u_lip", "l_lip", "neck"))
    assert not mask[90, 80]  # an eye
    assert not mask[90, 120]
    assert not mask[112, 100]  # the tip of the nose
    assert mask[130, 100]  # the mouth
    assert mask[150, 100]  # the chin
    assert mask[185, 100]  # the neck
    assert not mask[185, 10]  # a shoulder


def test_hair_may_hang_over_the_forehead_but_not_over_the_eyes() -> None:
    hair = shown(("hair",))
    assert hair[5, 5]
    assert hair[65, 100]  # the forehead
    assert hair[120, 10]  # beside the face
    assert not hair[90, 80]
    assert not hair[130, 100]
    ears = shown(("l_ear", "r_ear"))
    assert ears[110, 150]
    assert not ears[65, 100]
    assert not (ears & shown(WHOLE_FACE) & ~near(~shown(WHOLE_FACE), 8)).any()  # at most the face's rim


def test_hats_are_above_clothes_below_and_glasses_around_the_eyes() -> None:
    hat, cloth, glasses = shown(("hat",)), shown(("cloth",)), shown(("eye_g",))
    assert hat[20, 100]
    assert not hat[100:].any()
    assert cloth[195, 100]
    assert not cloth[:155].any()
    assert glasses[90, 60:140].all()
    assert not glasses[:68].any()
    assert not glasses[120:].any()
    assert not (shown(("l_eye", "r_eye", "nose"))[:110] & ~shown(("eye_g",))[:110]).any()
    assert shown(("background",))[5, 5]
    assert not shown(("background",))[100, 100]


@pytest.mark.parametrize("degrees", [-60, 35, 180])
@pytest.mark.parametrize(
    "names", [WHOLE_FACE, ("eye_g",), ("l_ear",), ("l_brow", "mouth"), ("neck",)], ids=str
)
def test_masks_turn_with_the_face(names: tuple[str, ...], degrees: float) -> None:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = shown(names, (face() - 100) @ turn.T + 100)
    # Where each pixel of the turned mask was.
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5 - 100
    before = np.floor(np.stack([x, y], axis=-1) @ turn + 100).astype(int)
    inside = ((before >= 0) & (before < SIZE)).all(axis=-1)
    upright = shown(names)[before[..., 1].clip(0, SIZE - 1), before[..., 0].clip(0, SIZE - 1)]
    differ = (turned != upright) & inside
    assert not (differ & ~near(upright, 2)).any()
    assert not (differ & ~near(~upright, 2)).any()


def test_every_region_can_be_drawn_of_every_order_of_points() -> None:
    for count in OUTLINES:
        points = np.random.default_rng(0).uniform(20, 180, (count, 2))
        for name in REGIONS:
            assert draw_regions(points, (name,), SIZE).shape == (SIZE, SIZE)


@pytest.mark.parametrize(("outlines", "count"), [(IBUG, 68), (MESH, 468)])
def test_outlines_name_each_point_once(outlines: Outlines, count: int) -> None:
    for name, outline in outlines.parts.items():
        assert name in REGIONS
        assert len(set(outline)) == len(outline), name
        assert max(outline) < count
    rim = outlines.jaw + outlines.forehead
    assert len(set(rim)) == len(rim)
    assert set(outlines.parts) == set(INNER)
