import torch

from keyface.miniature.population import clips
from keyface.miniature.population.parameters import NUISANCE_NAMES
from keyface.miniature.rendering import renderer


def test_a_clip_is_one_person_in_one_state() -> None:
    clip = clips.draw_clip(11, seed=2, frames=50)
    assert len(clip) == 50
    assert bool((clip.identity.ids == 11).all())
    assert torch.equal(clip.attributes.values, clip.attributes.values[:1].expand(50, -1))


def test_clips_are_deterministic_and_prefixes_agree() -> None:
    first, longer = clips.draw_clip(11, 2, 10), clips.draw_clip(11, 2, 30)
    assert torch.equal(first.nuisance.values, longer.nuisance.values[:10])
    assert not torch.equal(first.nuisance.values, clips.draw_clip(11, 3, 10).nuisance.values)


def test_the_frame_rate_changes_the_sampling_and_not_the_movement() -> None:
    fast, slow = clips.draw_clip(5, 1, 50, fps=50.0), clips.draw_clip(5, 1, 25, fps=25.0)
    torch.testing.assert_close(fast.nuisance.values[::2], slow.nuisance.values, atol=1e-5, rtol=1e-5)


def test_movement_is_smooth_and_within_reach() -> None:
    for seed in range(8):
        clip = clips.draw_clip(seed, seed, 150)
        yaw = clip.condition("yaw")
        assert yaw.abs().max() <= 0.45
        assert yaw.diff().abs().max() < 0.05
        assert yaw.max() - yaw.min() > 0.05
        assert clip.condition("scale").diff().abs().max() < 0.01
        blink = clip.condition("blink")
        assert blink.max() > 0.6
        assert (blink > 0.1).float().mean() < 0.15


def test_only_what_moves_moves() -> None:
    clip = clips.draw_clip(4, 0, 40)
    moves = (clip.nuisance.values != clip.nuisance.values[:1]).any(dim=0).tolist()
    moving = {name for name, moved in zip(NUISANCE_NAMES, moves, strict=True) if moved}
    allowed = {
        "yaw",
        "pitch",
        "roll",
        "x",
        "y",
        "scale",
        "light_x",
        "blink",
        "mouth_open",
        "gaze_x",
        "gaze_y",
    }
    assert moving <= allowed
    assert {"yaw", "pitch", "gaze_x"} <= moving


def test_flow_between_frames_is_small_and_mostly_valid() -> None:
    clip = clips.draw_clip(3, 0, 6)
    flow, valid = renderer.render_flow(clip[:-1], clip[1:], 64)
    assert valid.float().mean() > 0.85
    assert flow.norm(dim=1)[valid].max() < 4.0
