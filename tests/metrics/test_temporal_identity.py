import math

import pytest
import torch

from keyface.metrics.identity import (
    TemporalIdentity,
    embed_frames,
    global_similarity,
    local_similarity,
    temporal_identity,
)

# Three frames in the plane: neighbours at cos 0.6 and 0.8, first and last at cos 0.
TURN = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
STILL = torch.tensor([[2.0, 0.0], [5.0, 0.0], [0.1, 0.0]])


def test_similarities_by_hand() -> None:
    assert local_similarity(TURN).item() == pytest.approx((0.6 + 0.8) / 2)
    assert global_similarity(TURN).item() == pytest.approx((0.6 + 0.8 + 0.0) / 3)
    assert local_similarity(STILL).item() == pytest.approx(1.0)
    assert global_similarity(STILL).item() == pytest.approx(1.0)


def test_neighbours_of_four_frames_by_hand() -> None:
    """Three pairs at cos 0.6, 1 and 0.8."""
    frames = torch.tensor([[3.0, 0.0], [0.6, 0.8], [3.0, 4.0], [0.0, 1.0]])
    assert local_similarity(frames).item() == pytest.approx((0.6 + 1.0 + 0.8) / 3)


def test_global_similarity_is_that_of_all_pairs() -> None:
    frames = torch.randn(9, 16, generator=torch.Generator().manual_seed(0)) + 1
    pairs = torch.nn.functional.cosine_similarity(frames[:, None], frames[None], dim=-1)
    rows, columns = torch.triu_indices(9, 9, offset=1)
    assert global_similarity(frames).item() == pytest.approx(pairs[rows, columns].mean().item(), abs=1e-6)


def test_the_original_is_the_measure() -> None:
    assert {name: value.item() for name, value in temporal_identity(TURN, TURN).items()} == {
        "tl_id": 1.0,
        "tg_id": 1.0,
    }
    scores = temporal_identity(STILL, TURN)
    assert scores["tl_id"].item() == pytest.approx(1 / 0.7)
    assert scores["tg_id"].item() == pytest.approx(3 / 1.4)


def test_what_has_no_score() -> None:
    with pytest.raises(ValueError, match="at least 2 frames"):
        temporal_identity(TURN[:1], TURN[:1])
    with pytest.raises(ValueError, match="does not see one person"):
        temporal_identity(TURN, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    with pytest.raises(ValueError, match="does not see one person"):
        temporal_identity(TURN, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))


def test_metric_averages_clips_across_ranks() -> None:
    first, second = TemporalIdentity(), TemporalIdentity()
    first.update(TURN, STILL)
    second.update(STILL, STILL)
    second.update(STILL, STILL)
    first.merge_state(second)
    scores = first.compute()
    assert scores["tl_id"].item() == pytest.approx((0.7 + 2) / 3)
    assert scores["tg_id"].item() == pytest.approx((1.4 / 3 + 2) / 3)


def test_frames_are_embedded_in_chunks_and_in_range() -> None:
    seen: list[int] = []

    def recognizer(images: torch.Tensor, landmarks: torch.Tensor | None) -> torch.Tensor:
        assert landmarks is not None
        assert images.abs().max() <= 1
        seen.append(len(images))
        return torch.stack([images.mean(dim=(1, 2, 3)), landmarks[:, 0, 0]], dim=1)

    frames = torch.full((5, 3, 2, 2), 3.0)
    points = torch.arange(5.0)[:, None, None].expand(5, 5, 2)
    embeddings = embed_frames(recognizer, frames, points, chunk_size=2)
    assert seen == [2, 2, 1]
    assert embeddings[3].tolist() == pytest.approx([1 / 10**0.5, 3 / 10**0.5])


def turned(*degrees: float) -> torch.Tensor:
    """Frames in the plane at these angles."""
    return torch.tensor([[math.cos(math.radians(each)), math.sin(math.radians(each))] for each in degrees])


def test_jitter_costs_tl_id_and_drift_tg_id() -> None:
    """The original stands still, so both are the edited clip's own similarities, known from the angles."""
    still, jitter, drift = turned(0, 0, 0, 0), turned(0, 20, 0, 20), turned(0, 10, 20, 30)
    cos10, cos20, cos30 = (math.cos(math.radians(each)) for each in (10, 20, 30))
    jitters, drifts = temporal_identity(jitter, still), temporal_identity(drift, still)
    assert jitters["tl_id"].item() == pytest.approx(cos20)
    assert jitters["tg_id"].item() == pytest.approx((4 * cos20 + 2) / 6), "0 with 0 and 20 with 20"
    assert drifts["tl_id"].item() == pytest.approx(cos10)
    assert drifts["tg_id"].item() == pytest.approx((3 * cos10 + 2 * cos20 + cos30) / 6)


def test_means_are_divided_and_not_pair_by_pair() -> None:
    """One pair of the original is at 80 degrees: its ratio alone would be 5.8."""
    original, edited = turned(0, 0, 80), turned(0, 0, 0)
    cos80 = math.cos(math.radians(80))
    scores = temporal_identity(edited, original)
    assert scores["tl_id"].item() == pytest.approx(2 / (1 + cos80))
    assert scores["tg_id"].item() == pytest.approx(3 / (1 + 2 * cos80))
    assert scores["tl_id"].item() != pytest.approx((1 + 1 / cos80) / 2)
