import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.optical_flow import raft_small

from keyface.metrics.flow import Dis, Raft, clip_flow, flow_estimator, occlusion
from keyface.metrics.temporal import pair_errors, temporal_loss
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.rendering.renderer import render_flow, render_images
from keyface.miniature.trials import FIRST_PERSON


def texture(size: int) -> Tensor:
    """Smooth noise (3, size, size) in [-1, 1], that an estimator can hold on to."""
    noise = torch.rand(1, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(noise, (size, size), mode="bicubic")[0].clamp(0, 1) * 2 - 1


def translated_clip(frames: int, right: int, down: int, size: int = 64) -> Tensor:
    """A texture that moves by whole pixels a frame, (T, 3, size, size)."""
    wide = texture(size + 64)
    return torch.stack(
        [wide[:, 32 - down * t : 32 - down * t + size, 32 - right * t :][:, :, :size] for t in range(frames)]
    )


@pytest.fixture(scope="module")
def small_raft() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: torch.nn.Module = raft_small(weights=None, progress=False)
    return network


def test_dis_finds_a_known_translation() -> None:
    moving = translated_clip(3, right=3, down=-2)
    flow, valid = clip_flow(Dis(), moving, chunk=1)
    assert flow.shape == (2, 2, 64, 64)
    assert valid.shape == (2, 64, 64)
    inside = flow[:, :, 8:-8, 8:-8]
    assert (inside[:, 0] - 3).abs().mean() < 0.2
    assert (inside[:, 1] + 2).abs().mean() < 0.2
    assert valid[:, 8:-8, 8:-8].float().mean() > 0.95
    assert not valid[:, :, -2:].any()
    assert temporal_loss(moving, flow, valid) < 0.2 * temporal_loss(moving, torch.zeros_like(flow), valid)


def test_the_flow_of_the_source_shows_the_flicker_of_the_edit() -> None:
    moving = translated_clip(3, right=2, down=0)
    flow, valid = clip_flow(Dis(), moving)
    flicker = moving * 0.5
    flicker[1] += 0.2
    still = pair_errors(moving * 0.5, flow, valid)
    assert (pair_errors(flicker, flow, valid) - still).tolist() == pytest.approx([0.1, 0.1], abs=0.01)


def test_dis_says_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="sides of 16 pixels"):
        Dis()(torch.zeros(1, 3, 8, 64), torch.zeros(1, 3, 8, 64))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="needs OpenCV: pip install opencv-python-headless"):
        flow_estimator()


def test_occlusion_by_hand() -> None:
    """All move right by 2, and back: the last two columns leave; where the way back differs, it is hidden."""
    forward, backward = torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 8)
    forward[:, 0], backward[:, 0] = 2.0, -2.0
    hidden = occlusion(forward, backward)
    assert hidden[0].tolist() == [[False] * 6 + [True] * 2] * 4
    backward[:, :, 1, 5] = 0.0  # where the pixel (1, 3) goes
    hidden = occlusion(forward, backward)
    assert hidden[0].nonzero().tolist() == sorted([[1, 3], *([row, x] for row in range(4) for x in (6, 7))])


def test_a_gap_within_the_tolerance_is_forgiven() -> None:
    """|f|² + |b|² = 100 + 81: 0.01 of it and 0.5 make 2.31; a gap of 1 pixel is 1, one of 2 is 4."""
    forward, backward = torch.zeros(1, 2, 1, 40), torch.zeros(1, 2, 1, 40)
    forward[:, 0], backward[:, 0] = 10.0, -9.0
    assert not occlusion(forward, backward)[0, 0, :29].any()
    backward[:, 0] = -8.0
    assert occlusion(forward, backward)[0, 0, :29].all()


def test_one_frame_has_no_flow() -> None:
    flow, valid = clip_flow(Dis(), torch.zeros(1, 3, 32, 32))
    assert flow.shape == (0, 2, 32, 32)
    assert valid.shape == (0, 32, 32)
    assert valid.dtype == torch.bool


def test_raft_is_torchvisions_on_padded_frames(small_raft: torch.nn.Module) -> None:
    first, second = texture(132)[None, :, :100, :130], texture(140)[None, :, 40:, 10:]
    flow = Raft(small_raft, updates=2)(first, second)
    assert flow.shape == (1, 2, 100, 130)
    padded = [torch.nn.functional.pad(x, (0, 6, 0, 28), mode="replicate") for x in (first, second)]
    with torch.no_grad():
        expected = small_raft(*padded, num_flow_updates=2)[-1][..., :100, :130]
    torch.testing.assert_close(flow, expected)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_raft_reads_a_local_state(tmp_path: Path, small_raft: torch.nn.Module, suffix: str) -> None:
    path = tmp_path / f"raft{suffix}"
    if suffix == ".pth":
        torch.save(small_raft.state_dict(), path)
    else:
        save_file(small_raft.state_dict(), path)
    read = flow_estimator(path, "raft_small")
    assert isinstance(read, Raft)
    assert f"raft_small, raft{suffix}, sha256 " in read.name
    for name, value in small_raft.state_dict().items():
        torch.testing.assert_close(read.network.state_dict()[name], value)
    with pytest.raises(ValueError, match="not a state of torchvision's raft_large"):
        flow_estimator(path)
    elsewhere = flow_estimator(path, "raft_small", "meta")
    assert isinstance(elsewhere, Raft)
    assert {each.device.type for each in elsewhere.network.parameters()} == {"meta"}


class Canary:
    """Would write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_raft_refuses_what_is_no_state(tmp_path: Path) -> None:
    canary, hostile = tmp_path / "canary", tmp_path / "hostile.pth"
    hostile.write_bytes(pickle.dumps(Canary(canary), protocol=2))
    with pytest.raises(ValueError, match="no weights that can be read safely"):
        Raft.from_file(hostile)
    torch.save(Canary(canary), hostile)
    with pytest.raises(ValueError, match="no weights that can be read safely"):
        Raft.from_file(hostile)
    assert not canary.exists()
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(ValueError, match="no weights that can be read safely"):
            Raft.from_file(tmp_path / name)
    torch.save([1, 2], hostile)
    with pytest.raises(ValueError, match="not a state of tensors"):
        Raft.from_file(hostile)
    with pytest.raises(FileNotFoundError, match="no such file"):
        Raft.from_file(tmp_path / "none.pth")


def test_against_the_renderers_exact_flow() -> None:
    """A head that turns: DIS must come near the truth, and what leads home must be what is visible."""
    faces = draw_clip(FIRST_PERSON, seed=3, frames=3, fps=2)
    frames = render_images(faces, 96)
    exact, visible = render_flow(faces[:-1], faces[1:], 96)
    back, _ = render_flow(faces[1:], faces[:-1], 96)
    assert occlusion(exact, back)[visible].float().mean() < 0.02
    estimated, valid = clip_flow(Dis(), frames)
    lengths = exact.norm(dim=1)
    moving = visible & (lengths > 0.5)
    assert moving.float().mean() > 0.1
    assert (estimated - exact).norm(dim=1)[moving].mean() < 0.5 * lengths[moving].mean()
    known = temporal_loss(frames, exact, visible)
    assert known < temporal_loss(frames, estimated, valid)
    assert temporal_loss(frames, estimated, valid) < 0.8 * temporal_loss(frames, 0 * exact, visible)
