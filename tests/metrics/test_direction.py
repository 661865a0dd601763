import pytest
import torch

from keyface.metrics.direction import DirectionSimilarity, direction_similarity

EAST, NORTH = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
UP = torch.tensor([[0.0, 0.0, 1.0]])


def test_the_same_change_scores_one_and_the_opposite_minus_one() -> None:
    assert direction_similarity(5 * NORTH, EAST, NORTH, 3 * EAST).item() == pytest.approx(1.0)
    assert direction_similarity(EAST, NORTH, NORTH, EAST).item() == pytest.approx(-1.0)


def test_by_hand() -> None:
    """Δ_I = NORTH - EAST, Δ_T = UP - EAST: dot 1, lengths √2 each."""
    assert direction_similarity(NORTH, EAST, UP, EAST).item() == pytest.approx(0.5)


def test_each_image_by_its_own_text_and_length() -> None:
    """A thousandth along the text, as much across it; of an image and of a text the rounding alone."""
    small, rounding = EAST + 0.001 * NORTH, EAST + 5e-7 * NORTH
    edited = torch.cat([small, small, 5 * rounding, NORTH])
    source = torch.cat([EAST, 2 * EAST, 3 * EAST, EAST])
    texts = torch.cat([small, 7 * EAST + 7 * UP, NORTH, 9 * rounding])
    scores = direction_similarity(edited, source, texts, 4 * EAST)
    assert scores.tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=1e-3)
    assert direction_similarity(edited, source, texts, 4 * EAST, minimum=0.01)[0].item() == 0.0


def test_no_change_has_no_direction() -> None:
    source = torch.nn.functional.normalize(torch.tensor([[0.3, -0.7, 0.2]]), dim=-1)
    assert direction_similarity(source, source, NORTH, EAST).item() == 0.0
    assert direction_similarity(NORTH, EAST, UP, UP).item() == 0.0


def test_metric_averages_images_across_ranks() -> None:
    first, second = DirectionSimilarity(), DirectionSimilarity()
    first.update(torch.cat([NORTH, NORTH]), torch.cat([EAST, EAST]), NORTH, EAST)
    second.update(NORTH, EAST, UP, EAST)
    first.merge_state(second)
    assert first.compute().item() == pytest.approx((1 + 1 + 0.5) / 3)


def test_metric_adds_up_over_batches() -> None:
    metric = DirectionSimilarity()
    metric.update(torch.cat([NORTH, NORTH]), torch.cat([EAST, EAST]), NORTH, EAST)
    metric.update(NORTH, EAST, UP, EAST)
    assert metric.compute().item() == pytest.approx((1 + 1 + 0.5) / 3)
