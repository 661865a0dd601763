import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_reciprocal_rank

from keyface.metrics.identity import clip_embedding, cosine_distance, embed_clip, embed_frames
from keyface.metrics.retrieval import RetrievalIdentity, retrieval_scores, same_person_ranks

# A gallery of four people on the unit circle and two queries. By hand:
#   query of person 0 = (0.8, 0.6): cos to the gallery 0.8, 0.6, -0.8, -0.6 → rank 1, distance 0.2
#   query of person 3 = (0.6, 0.8): cos 0.6, 0.8, -0.6, -0.8 → person 3 is last, rank 4, distance 1.8
GALLERY = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
PEOPLE = torch.arange(4)
QUERIES = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
ASKED = torch.tensor([0, 3])


def test_four_item_gallery_by_hand() -> None:
    scores = retrieval_scores(QUERIES, GALLERY, ASKED, PEOPLE)
    assert scores["r_at_1"].item() == pytest.approx(0.5)
    assert scores["mrr"].item() == pytest.approx((1 + 1 / 4) / 2)
    assert scores["cosine_distance"].item() == pytest.approx((0.2 + 1.8) / 2)


def test_lengths_of_embeddings_do_not_matter() -> None:
    scaled = retrieval_scores(
        7 * QUERIES, GALLERY * torch.tensor([[1.0], [2.0], [3.0], [9.0]]), ASKED, PEOPLE
    )
    for name, value in retrieval_scores(QUERIES, GALLERY, ASKED, PEOPLE).items():
        assert scaled[name].item() == pytest.approx(value.item())


def test_agrees_with_torchmetrics_where_there_are_no_ties() -> None:
    generator = torch.Generator().manual_seed(3)
    queries, gallery = torch.randn(12, 6, generator=generator), torch.randn(12, 6, generator=generator)
    gallery += 0.5 * queries
    ids = torch.arange(12)
    scores = retrieval_scores(queries, gallery, ids, ids)
    # shifted above zero: torchmetrics takes documents of negative score for misses
    similarities = torch.nn.functional.cosine_similarity(queries[:, None], gallery[None], dim=-1) + 2
    same = ids[:, None] == ids
    reciprocal = [retrieval_reciprocal_rank(s, m) for s, m in zip(similarities, same, strict=True)]
    hits = [retrieval_hit_rate(s, m, top_k=1) for s, m in zip(similarities, same, strict=True)]
    assert scores["mrr"].item() == pytest.approx(torch.stack(reciprocal).mean().item())
    assert scores["r_at_1"].item() == pytest.approx(torch.stack(hits).mean().item())


def test_a_collapsed_recognizer_does_not_score() -> None:
    collapsed = torch.ones(4, 3)
    assert retrieval_scores(collapsed, collapsed, PEOPLE, PEOPLE)["r_at_1"].item() == 0.0
    assert same_person_ranks(torch.ones(1, 4), torch.tensor([[True, False, False, False]])).item() == 4


def test_clip_embedding_gives_each_frame_an_equal_say() -> None:
    frames = torch.tensor([[10.0, 0.0], [0.0, 0.1]])
    assert clip_embedding(frames).tolist() == pytest.approx([0.5**0.5, 0.5**0.5])
    assert cosine_distance(clip_embedding(frames), torch.tensor([1.0, 0.0])).item() == pytest.approx(
        1 - 0.5**0.5
    )


def test_clip_embedding_of_three_frames_by_hand() -> None:
    """Two frames show one way and one the other, however long: (2, 1) / √5."""
    frames = torch.tensor([[0.1, 0.0], [0.0, 9.0], [5.0, 0.0]])
    assert clip_embedding(frames).tolist() == pytest.approx([2 / 5**0.5, 1 / 5**0.5])


def test_frames_are_recognized_some_at_a_time() -> None:
    """Colours of 40 frames, with and without landmarks; a clip is embedded likewise."""
    frames, landmarks = torch.randn(40, 3, 2, 2), torch.arange(400.0).view(40, 5, 2)
    seen: list[tuple[int, torch.Tensor | None]] = []

    def recognizer(images: torch.Tensor, points: torch.Tensor | None) -> torch.Tensor:
        seen.append((len(images), points))
        return images.mean(dim=(2, 3))

    expected = torch.nn.functional.normalize(frames.clamp(-1, 1).mean(dim=(2, 3)), dim=-1)
    torch.testing.assert_close(embed_frames(recognizer, frames), expected)
    torch.testing.assert_close(embed_clip(recognizer, frames, landmarks), clip_embedding(expected))
    torch.testing.assert_close(embed_clip(recognizer, frames, landmarks, 25), clip_embedding(expected))
    assert [length for length, _ in seen] == [32, 8, 32, 8, 25, 15]
    assert [points for _, points in seen[:2]] == [None, None]
    for first in (2, 4):
        assert torch.equal(torch.cat([points for _, points in seen[first : first + 2]]), landmarks)


def test_an_edited_identity_without_original_is_an_error() -> None:
    with pytest.raises(ValueError, match="identity 9 was edited"):
        retrieval_scores(QUERIES, GALLERY, torch.tensor([0, 9]), PEOPLE)


def test_metric_is_whole_over_batches_and_ranks() -> None:
    """Each rank sees one query and half the gallery; merging the states must not lose the other half."""
    first, second = RetrievalIdentity(), RetrievalIdentity()
    first.update(QUERIES[:1], GALLERY[2:], ASKED[:1], PEOPLE[2:])
    second.update(QUERIES[1:], GALLERY[:1], ASKED[1:], PEOPLE[:1])
    second.update(QUERIES[:0], GALLERY[1:2], ASKED[:0], PEOPLE[1:2])
    first.merge_state(second)
    scores = first.compute()
    assert scores["mrr"].item() == pytest.approx(0.625)
    assert scores["r_at_1"].item() == pytest.approx(0.5)
