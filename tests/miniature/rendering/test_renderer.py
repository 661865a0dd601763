import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, max_pool2d

from keyface.celeba import REGION_IDS, REGIONS
from keyface.miniature.population import world
from keyface.miniature.population.parameters import Faces
from keyface.miniature.rendering import renderer
from keyface.miniature.rendering.geometry import derive_geometry
from keyface.miniature.rendering.head import head_profile, pose_of, surface_of, surface_to_head

BARE = {
    "Eyeglasses": 0.0, "Sunglasses": 0.0, "Beard": 0.0, "Goatee": 0.0, "Mustache": 0.0, "Wearing_Hat": 0.0,
    "Bangs": 0.0, "Surprised": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def faces() -> Faces:
    return world.draw_faces(torch.arange(5), 3, BARE).with_nuisance(blink=0.0, mouth_open=0.0)


@pytest.fixture(scope="module")
def rendering(faces: Faces) -> renderer.Rendering:
    return renderer.render(faces)


def _warp(image: Tensor, flow: Tensor) -> Tensor:
    size = image.shape[-1]
    x, y = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="xy")
    grid = (torch.stack([x, y]) + flow + 0.5) * (2 / size) - 1
    return grid_sample(image, grid.permute(0, 2, 3, 1), mode="bicubic", align_corners=False)


def test_shapes_and_ranges(rendering: renderer.Rendering) -> None:
    assert rendering.image.shape == (5, 3, 128, 128)
    assert rendering.image.dtype == torch.float32
    assert rendering.image.min() >= -1
    assert rendering.image.max() <= 1
    assert rendering.mask.shape == (5, 128, 128)
    assert rendering.mask.dtype == torch.uint8
    assert rendering.mask.max() < len(REGIONS)
    assert rendering.landmarks.shape == (5, 5, 2)
    assert rendering.surface.shape == (5, 3, 128, 128)


def test_the_same_faces_give_the_same_pictures(faces: Faces, rendering: renderer.Rendering) -> None:
    assert torch.equal(renderer.render_images(faces), rendering.image)
    torch.testing.assert_close(renderer.render_images(faces[2:4]), rendering.image[2:4], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [64, 200])
def test_sizes_show_one_scene(faces: Faces, rendering: renderer.Rendering, size: int) -> None:
    other = interpolate(renderer.render_images(faces, size), size=(64, 64), mode="area")
    reference = interpolate(rendering.image, size=(64, 64), mode="area")
    assert (other - reference).abs().mean() < 0.02
    expected = (rendering.landmarks + 0.5) * (size / 128) - 0.5
    torch.testing.assert_close(renderer.locate_landmarks(faces, size), expected, atol=1e-3, rtol=0)


def test_the_head_fills_four_fifths_of_the_height(faces: Faces) -> None:
    still = faces.with_nuisance(yaw=0.0, pitch=0.0, roll=0.0, x=0.0, y=0.0, scale=1.0)
    mask = renderer.render(still).mask
    body = torch.tensor([REGION_IDS[name] for name in ("background", "neck", "cloth", "neck_l")])
    head = ~torch.isin(mask, body.to(torch.uint8))
    middle = head[:, :, 60:68].any(dim=2).sum(dim=1)
    assert bool(((middle > 92) & (middle < 118)).all())


def test_landmarks_lie_on_their_parts(faces: Faces, rendering: renderer.Rendering) -> None:
    def around(index: int, point: int, reach: int) -> set[str]:
        x, y = rendering.landmarks[index, point].round().long().tolist()
        patch = rendering.mask[index, y - reach : y + reach + 1, x - reach : x + reach + 1]
        return {REGIONS[value] for value in set(patch.flatten().tolist())}

    for index in range(len(faces)):
        assert "l_eye" in around(index, 0, 1)
        assert "r_eye" in around(index, 1, 1)
        assert "nose" in around(index, 2, 0)
        for corner in (3, 4):
            assert around(index, corner, 3) & {"mouth", "u_lip", "l_lip"}
    assert bool((rendering.landmarks[:, 0, 0] < rendering.landmarks[:, 1, 0]).all())


def test_surface_inverts(faces: Faces) -> None:
    g = derive_geometry(faces.identity.values, faces.attributes.values, faces.nuisance.values)
    pose, profile = pose_of(g), head_profile(g)
    x = torch.linspace(-0.4, 0.4, 9).view(1, 1, 1, 9).expand(len(faces), 1, 9, 9)
    y = torch.linspace(-0.6, 0.6, 9).view(1, 1, 9, 1).expand(len(faces), 1, 9, 9)
    surface = surface_of(profile, pose, x, y)
    back_x, back_y, back_z = surface_to_head(profile, pose, surface.u, surface.y)
    torch.testing.assert_close(back_x, x, atol=2e-3, rtol=0)
    torch.testing.assert_close(back_y, y, atol=5e-3, rtol=0)
    torch.testing.assert_close(back_z, surface.z, atol=5e-3, rtol=0)


def test_flow_of_no_motion_is_zero(faces: Faces) -> None:
    flow, valid = renderer.render_flow(faces, faces, 64)
    assert valid.float().mean() > 0.92
    assert flow.norm(dim=1)[valid].max() < 0.36


def test_flow_of_a_shift_warps_the_second_frame_onto_the_first(
    faces: Faces, rendering: renderer.Rendering
) -> None:
    moved = faces.with_nuisance(
        x=faces.condition("x") + 0.06,
        y=faces.condition("y") - 0.04,
        roll=faces.condition("roll") + 0.05,
    )
    flow, valid = renderer.render_flow(faces, moved)
    second = renderer.render_images(moved)
    head = valid & (rendering.surface[:, 2] >= 5)
    error = (_warp(second, flow) - rendering.image).abs().mean(dim=1)
    still = (second - rendering.image).abs().mean(dim=1)
    assert valid.float().mean() > 0.9
    assert error[head].mean() < 0.02
    assert error[head].mean() < 0.3 * still[head].mean()


def test_flow_of_a_turn_carries_the_landmarks(faces: Faces) -> None:
    turned = faces.with_nuisance(
        yaw=faces.condition("yaw") * 0.5 + 0.15, pitch=faces.condition("pitch") + 0.05
    )
    flow, valid = renderer.render_flow(faces, turned)
    first, second = renderer.locate_landmarks(faces), renderer.locate_landmarks(turned)
    checked = 0
    for index in range(len(faces)):
        for point in range(5):
            x, y = first[index, point].round().long().tolist()
            if valid[index, y, x]:
                moved = flow[index, :, y, x]
                assert (moved - (second - first)[index, point]).norm() < 0.6
                checked += 1
    assert checked > 12


def test_flow_leaves_out_what_changed_by_itself(faces: Faces) -> None:
    _, valid = renderer.render_flow(faces, faces.with_nuisance(blink=1.0, mouth_open=1.0))
    for index in range(len(faces)):
        for point in (0, 1, 3, 4):
            x, y = renderer.locate_landmarks(faces)[index, point].round().long().tolist()
            assert not valid[index, y, x]


def test_glasses_change_nothing_outside_themselves(faces: Faces, rendering: renderer.Rendering) -> None:
    for label in ("Eyeglasses", "Sunglasses"):
        edited = renderer.render(world.counterfactual(faces, label, True))
        glasses = (edited.mask == REGION_IDS["eye_g"]).float()[:, None]
        reach = max_pool2d(glasses, 7, stride=1, padding=3)[:, 0] > 0
        differs = (edited.image != rendering.image).any(dim=1)
        assert bool(differs.any(dim=(1, 2)).all())
        # Eyes and brows within a lens are named as themselves, and the bars end under hair and ears.
        names = {REGIONS[value] for value in set(edited.mask[differs & ~reach].tolist())}
        assert names <= {"l_eye", "r_eye", "l_brow", "r_brow", "hair", "l_ear", "r_ear"}
        assert int((differs & ~reach).sum(dim=(1, 2)).max()) < 16
        eye_rows = rendering.landmarks[:, :2, 1]
        for index in range(len(faces)):
            rows = differs[index].any(dim=1).nonzero()
            assert rows.min() > eye_rows[index].min() - 15
            assert rows.max() < eye_rows[index].max() + 17


@pytest.mark.parametrize("label", ["Beard", "Goatee", "Mustache", "Wearing_Lipstick", "5_o_Clock_Shadow"])
def test_changes_to_the_lower_face_leave_the_eyes_alone(
    faces: Faces, rendering: renderer.Rendering, label: str
) -> None:
    plain = world.counterfactual(faces, label, False)
    before = renderer.render_images(plain, 64)
    edited = renderer.render_images(world.counterfactual(plain, label, True), 64)
    differs = (edited != before).any(dim=1)
    assert bool(differs.any(dim=(1, 2)).all())
    highest_eye = (rendering.landmarks[:, :2, 1].amin(dim=1) / 2).floor().long() - 2
    for index, row in enumerate(highest_eye.tolist()):
        assert not bool(differs[index, :row].any())


@pytest.mark.parametrize("label", ["Young", "Smiling", "Bangs", "Bald", "Blond_Hair", "Male", "Wearing_Hat"])
def test_every_edit_shows(faces: Faces, label: str) -> None:
    off, on = (
        renderer.render_images(world.counterfactual(faces, label, value), 64) for value in (False, True)
    )
    assert bool(((off - on).abs().mean(dim=(1, 2, 3)) > 0.004).all())
