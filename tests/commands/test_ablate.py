from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from keyface.commands._ablation import Ablation, Variant, variants
from keyface.commands._report import mean, table
from keyface.commands._scoring import Networks, edit_clip
from keyface.diffusion.backbone import Backbone
from keyface.diffusion.editor import VideoEditor
from keyface.diffusion.settings import EditSettings
from keyface.evaluation.judges import edit_success
from keyface.miniature.trials import other_clips, trials
from keyface.plugins import edits


def colours(images: Tensor, landmarks: Tensor | None) -> Tensor:
    """A recognizer by clothes and background."""
    return nn.functional.normalize(nn.functional.adaptive_avg_pool2d(images, 4).flatten(1), dim=-1)


class Brightness:
    """Takes bright pictures for faces with glasses, and nobody for bearded."""

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return {
            "Eyeglasses": images.mean(dim=(1, 2, 3)) > 0,
            "Beard": torch.zeros(len(images), dtype=torch.bool),
        }


@pytest.fixture
def networks(tiny_backbone: Backbone) -> Networks:
    return Networks(tiny_backbone, None, None, {"colours": colours, "again": colours}, Brightness())


def test_edit_success_is_the_share_of_frames() -> None:
    frames = torch.tensor([1.0, 1.0, 1.0, -1.0]).reshape(4, 1, 1, 1).expand(4, 3, 2, 2)
    assert edit_success(Brightness(), frames, edits["glasses"]) == pytest.approx(0.75)
    assert edit_success(Brightness(), frames, edits["no-glasses"]) == pytest.approx(0.25)


def test_each_variant_leaves_out_one_part() -> None:
    full, *others = variants(steps=10, guidance_scale=3.0, seed=0)
    assert full.tuned_identity
    assert full.tuned_direction
    assert full.settings.injection.enabled
    assert full.settings.joint_attention
    named = {variant.name: variant for variant in others}
    assert not named["without_injection"].settings.injection.enabled
    assert not named["untuned_direction"].tuned_direction
    assert named["frame_by_frame"].settings.interval == 1
    assert not named["frame_by_frame"].settings.joint_attention
    assert not named["untuned"].tuned_identity


def test_one_row_a_variant(networks: Networks) -> None:
    settings = EditSettings(steps=2, guidance_scale=2.0, interval=2)
    compared = [Variant("full", True, True, settings), Variant("untuned", False, False, settings)]
    ablation = Ablation(networks, compared)
    for trial in trials([edits["glasses"], edits["beard"]], 2, frames=3, size=32, seed=0):
        ablation.add(trial)
    for identity, clip in other_clips(3, frames=2, size=32, seed=0):
        ablation.add_to_gallery(identity, clip)

    full, untuned = ablation.rows()
    assert list(full) == [
        "variant", "n", "r_at_1", "mrr", "cosine_distance", "edit_success", "temporal_loss", "outside_change"
    ]  # fmt: skip
    assert full == untuned | {"variant": "full"}  # no tuned network was given: both are the base
    assert full["n"] == 2
    assert 1 / 5 <= full["mrr"] <= 1  # two originals and three others in the gallery
    assert full["outside_change"] > 0

    no_edit, rendered = ablation.rows(controls=True)[2:]
    assert no_edit["variant"] == "(reconstruction)"
    assert no_edit["outside_change"] == 0
    assert rendered["r_at_1"] == 1
    assert rendered["cosine_distance"] < full["cosine_distance"]
    assert Counter(clip["variant"] for clip in ablation.clips) == dict.fromkeys(
        ("full", "untuned", "(reconstruction)", "(rendered)"), 2
    )
    assert ablation.sheet().height > 3 * 32


def test_the_reconstruction_does_not_depend_on_the_variant(networks: Networks) -> None:
    """It is made once for each ε1; that is right only if settings of the edit leave it alone."""
    (trial,) = trials([edits["smile"]], 1, frames=3, size=32, seed=0)
    references = []
    for settings in (
        EditSettings(steps=2, interval=2),
        EditSettings(steps=2, interval=1, joint_attention=False, guidance_scale=2.0),
    ):
        editor = VideoEditor(networks.backbone, settings=settings)
        clip = edit_clip(editor, trial.frames, trial.prompts)
        assert clip.reconstruction is not None
        references.append(clip.reconstruction)
    assert torch.allclose(references[0], references[1], atol=1e-3)


def test_the_table_aligns_numbers_to_the_right() -> None:
    lines = table(
        [{"variant": "full", "n": 20, "mrr": 0.5}, {"variant": "x", "n": 5, "mrr": 0.01234}]
    ).splitlines()
    assert lines[0] == "variant   n     mrr"
    assert lines[2] == "full     20   0.500"
    assert lines[3] == "x         5  0.0123"


def test_a_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        mean([])
