import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from keyface.miniature.captioner import describe
from keyface.miniature.measure import balanced_accuracy, caption_recall, mean_psnr, recognition_auc
from keyface.miniature.population import captions, world
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.population.pairs import RATES


def test_psnr_of_a_known_error() -> None:
    # 0.2 in [-1, 1] is a tenth of the range: 20 dB. The mean is over images, not over errors.
    errors = torch.tensor([0.2, 0.02]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    assert mean_psnr(torch.zeros(2, 3, 4, 4), errors) == pytest.approx(30)


def test_balanced_accuracy_ignores_how_common_a_label_is() -> None:
    predicted = torch.tensor([True, False, False, False, False])
    true = torch.tensor([True, True, False, False, False])
    assert balanced_accuracy(predicted, true) == {"accuracy": 0.75, "positives": 2, "negatives": 3}


def test_recognition_auc_equals_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(12, 4, generator=generator), dim=1)
    ids = torch.arange(12) // 3

    def network(images: Tensor, landmarks: Tensor | None) -> Tensor:
        return images

    rows, columns = torch.triu_indices(12, 12, offset=1)
    expected = binary_auroc(
        ((embeddings @ embeddings.T)[rows, columns] + 1) / 2, (ids[rows] == ids[columns]).long()
    )
    assert recognition_auc(network, embeddings, torch.zeros(12, 5, 2), ids) == pytest.approx(float(expected))


class PhraseCounts(torch.nn.Module):
    """Embeds a text as counts of its phrases."""

    def encode_text(self, texts: list[str]) -> Tensor:
        vectors = torch.zeros(len(texts), 4096)
        for row, text in zip(vectors, texts, strict=True):
            for phrase in text.split(", "):
                row[sum(map(ord, phrase)) * 31 % 4096] += 1
        return torch.nn.functional.normalize(vectors, dim=1)


def test_captioner_finds_the_closest_canonical_caption() -> None:
    faces = world.draw_faces(world.HELD_OUT + torch.arange(6), seed=3)
    truth = captions.write_captions(faces)
    pair = PhraseCounts()
    assert describe(pair, pair.encode_text(truth)) == truth  # type: ignore[arg-type]


def test_caption_recall_counts_each_true_phrase() -> None:
    truth = [
        captions.write_captions(draw_clip(world.HELD_OUT + 20_000 + number, 13, 1, fps=5.0, rates=RATES))[0]
        for number in range(12)
    ]
    said = iter([*truth[:6], *["a photo of nobody"] * 6])
    found = caption_recall(lambda frames: next(said), clips=12, frames=2, size=16)
    for phrase, score in found.items():
        has = [phrase in text.split(", ") for text in truth]
        assert score == {"recall": sum(has[:6]) / sum(has), "clips": sum(has)}
