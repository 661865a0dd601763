"""The numbers of one clip on constructed cases whose answers are known."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.ground_truth import EDITS, GroundTruth, write_ground_truth
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.scoring import scores
from keyface.evaluation.scoring.original import Motion, Original
from keyface.models.judges import Judges, edit_success
from keyface.plugins import edits
from keyface.video import write_clip
from keyface.video.lossless import write_lossless

SIZE = 32


def colours(images: Tensor, landmarks: Tensor | None) -> Tensor:
    """A recognizer by mean colour."""
    return normalize(images.mean(dim=(2, 3)) + 2.0, dim=-1)


class Brightness:
    """Takes bright pictures for faces with glasses, and red ones for bearded."""

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        means = images.mean(dim=(2, 3))
        return {
            "Eyeglasses": means.mean(dim=1) > 0,
            "No_Beard": means[:, 0] < 0.5,
            "Beard": means[:, 0] > 0.5,
        }


class Pair:
    """Embeds pictures as their mean colours, texts as the colours that they name."""

    def encode_image(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))

    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.tensor([[float(word in text) for word in ("red", "green", "blue")] for text in texts])


JUDGES = Judges(
    {"colours": colours},
    Brightness(),
    Pair(),
    versions={"colours": "1", "attributes": "1", "clip": "1"},
)


def known(
    folder: Path, clip: ClipSpec, frames: Tensor, motion: Motion, person: Tensor | None = None
) -> Original:
    """The original of a clip whose edit may change rows and columns 4 to 11."""
    region = torch.zeros(clip.frames, SIZE, SIZE, dtype=torch.bool)
    region[:, 4:12, 4:12] = True
    write_lossless(folder / clip.video, frames, Fraction(clip.fps))
    write_ground_truth(folder, clip, GroundTruth(motion.flow, motion.valid, region, person))
    return Original(ClipSet("made up", 0, "a test", (clip,), (), folder), clip, JUDGES)


@pytest.fixture
def moving() -> tuple[Tensor, Motion]:
    """A texture that moves one pixel to the right a frame, and its motion."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(3, SIZE, SIZE + 3, generator=generator) * 2 - 1
    frames = torch.stack([wide[:, :, 3 - t : 3 - t + SIZE] for t in range(4)])
    flow = torch.zeros(3, 2, SIZE, SIZE)
    flow[:, 0] = 1.0
    valid = torch.ones(3, SIZE, SIZE, dtype=torch.bool)
    return frames, Motion(flow, valid, exact=True)


def test_known_motion_has_no_temporal_loss_and_flicker_has_its_amplitude(
    moving: tuple[Tensor, Motion],
) -> None:
    frames, motion = moving
    found = scores.temporal(frames, motion, None)
    assert found["temporal_loss_masked"] == pytest.approx(0, abs=1e-6)
    assert set(found) == {"temporal_loss", "temporal_loss_frames", "temporal_loss_masked"}
    flicker = torch.tensor([0.0, 0.1, 0.0, 0.1])[:, None, None, None]
    found = scores.temporal(frames + flicker, motion, None)
    assert found["temporal_loss_masked"] == pytest.approx(0.05, abs=1e-6), "of intensities in [0, 1]"
    assert found["temporal_loss_frames"] == pytest.approx(found["temporal_loss"] * 3 / 4)


def test_the_mask_leaves_out_what_is_hidden(moving: tuple[Tensor, Motion]) -> None:
    frames, motion = moving
    frames[1:, :, :8] = 0.7  # something else comes in front
    valid = motion.valid.clone()
    valid[:, :8] = False
    found = scores.temporal(frames, motion._replace(valid=valid), None)
    assert found["temporal_loss_masked"] == pytest.approx(0, abs=1e-6)
    assert found["temporal_loss"] > 0.01


def test_own_flow_is_that_of_the_scored_clip(moving: tuple[Tensor, Motion]) -> None:
    frames, motion = moving
    asked = []

    class Right:
        name = "one to the right"

        def __call__(self, first: Tensor, second: Tensor) -> Tensor:
            asked.append((first, second))
            return motion.flow[: len(first)]

    found = scores.temporal(frames, None, Right())
    assert list(found) == ["temporal_loss_own"]
    assert torch.equal(asked[0][0], frames[:3])
    assert torch.equal(asked[0][1], frames[1:])


def test_one_frame_has_no_time(moving: tuple[Tensor, Motion]) -> None:
    embedded = scores.embed({"colours": colours}, moving[0][:1])
    assert set(scores.identity(embedded, embedded)) == {"cosine_distance/colours"}
    assert scores.temporal(moving[0][:1], None, None) == {}


def test_identity_by_hand() -> None:
    own = {"a": torch.tensor([[1.0, 0.0], [1.0, 0.0]])}
    edited = {"a": torch.tensor([[1.0, 0.0], [0.6, 0.8]])}
    found = scores.identity(edited, own)
    assert found["cosine_distance/a"] == pytest.approx(1 - 1.6 / (1.6**2 + 0.8**2) ** 0.5)
    assert found["tl_id/a"] == found["tg_id/a"] == pytest.approx(0.6)
    assert scores.identity(own, own) == {
        "cosine_distance/a": 0.0,
        "tl_id/a": pytest.approx(1.0),
        "tg_id/a": pytest.approx(1.0),
    }


def test_a_recognizer_that_sees_no_one_person_has_no_steadiness() -> None:
    own = {"a": torch.tensor([[1.0, 0.0], [-1.0, 0.1]])}
    assert set(scores.identity(own, own)) == {"cosine_distance/a"}


def test_success_needs_every_edit_of_a_clip(spec: Callable[..., ClipSpec]) -> None:
    bright, red = torch.full((1, 3, 8, 8), 0.2), torch.full((1, 3, 8, 8), -0.1)
    red[:, 0] = 0.8
    frames = torch.cat([bright, red, red, -bright])
    assert edit_success(Brightness(), frames, edits["glasses"]) == 0.75
    both = spec(category="glasses+beard", source=None, target=None)
    found = scores.success(frames, frames, both, JUDGES)
    assert found == {"edit_success": 0.5}, "and without prompts no direction"
    assert scores.success(frames, frames, replace(both, category="unheard-of"), JUDGES) == {}
    assert scores.success(frames, frames, replace(both, category="hat"), JUDGES) == {}, "no label for it"


def test_a_categorys_own_judge_scores_its_edits(spec: Callable[..., ClipSpec]) -> None:
    """Freckles, of which no classifier here knows: two of four frames have spots of the size that counts."""
    dark = torch.zeros(4, 3, 128, 128)
    dark[:2, :, ::4, ::4] = -0.5
    clip = spec(category="freckles", source=None, target=None)
    assert scores.success(dark, dark, clip, Judges()) == {"edit_success": 0.5}


def test_direction_is_1_towards_the_text_and_0_without_a_change(spec: Callable[..., ClipSpec]) -> None:
    grey = torch.full((3, 3, 8, 8), 0.5)
    edited = grey.clone()
    edited[:, 0] += 0.01
    clip = spec(source="a green picture", target="a red picture")
    assert scores.success(grey, grey, clip, JUDGES)["direction_similarity"] == 0
    redder = scores.success(edited, grey, clip, JUDGES)["direction_similarity"]
    bluer = scores.success(edited.flip(1), grey, clip, JUDGES)["direction_similarity"]
    assert redder > 0.7
    assert bluer < redder


def test_an_edit_inside_its_region_changes_nothing_outside(
    tmp_path: Path, spec: Callable[..., ClipSpec], moving: tuple[Tensor, Motion]
) -> None:
    frames, motion = moving
    clip = spec(frames=4, size=SIZE)
    person = torch.zeros(4, SIZE, SIZE, dtype=torch.bool)
    person[:, :16] = True
    original = known(tmp_path, clip, frames, motion, person)
    frames = original.frames
    assert original.motion is not None
    assert original.motion.exact
    inside = frames.clone()
    inside[:, :, 4:12, 4:12] = 1.0
    assert scores.locality(inside, original) == {
        "outside_l1": 0.0,
        "outside_psnr": scores.BEST_PSNR,
        "background_drift": 0.0,
    }
    on_the_face = frames.clone()
    on_the_face[:, :, 14:16] = 0.0
    found = scores.locality(on_the_face, original)
    assert found["outside_l1"] > 0.01
    assert found["background_drift"] == 0, "the face is no background"
    assert found["outside_psnr"] < 30


def test_the_distance_to_the_renderers_edit_counts_inside_the_region_alone(
    tmp_path: Path, spec: Callable[..., ClipSpec], moving: tuple[Tensor, Motion]
) -> None:
    frames, motion = moving
    clip = spec(frames=4, size=SIZE)
    original = known(tmp_path, clip, frames, motion)
    (tmp_path / EDITS).mkdir()
    write_clip(tmp_path / EDITS / f"{clip.key}.mp4", torch.zeros(4, 3, SIZE, SIZE), fps=clip.fps)
    ground_truth = original.ground_truth_edit
    assert ground_truth is not None
    edited = ground_truth.clone()
    edited[:, :, 4:12, 4:8] += 0.5
    edited[:, :, 20:] = 1.0
    assert scores.locality(edited, original)["inside_l1"] == pytest.approx(0.125, abs=1e-6)
    assert scores.locality(ground_truth, original)["inside_l1"] == 0


def test_without_truth_there_is_no_locality(tmp_path: Path, spec: Callable[..., ClipSpec]) -> None:
    clip = spec()
    original = Original(ClipSet("made up", 0, "a test", (clip,), (), tmp_path), clip, JUDGES)
    assert scores.locality(torch.zeros(4, 3, 8, 8), original) == {}
    assert original.ground_truth_hashes == {"truth": None, "answer": None}
    assert original.motion is None, "and no estimator is among the judges"
