"""Measures the miniature's networks on held-out people: the figures of the README's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.guidance import Guidance
from keyface.diffusion.inversion import invert
from keyface.diffusion.sampling import GridPath, denoise, sample
from keyface.diffusion.schedule import Grid
from keyface.faces.recognition import Recognizer
from keyface.metrics.locality import psnr
from keyface.miniature.networks.attributes import AttributeClassifier
from keyface.miniature.networks.autoencoder import PatchAutoencoder
from keyface.miniature.population import captions, world
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.population.pairs import RATES
from keyface.miniature.population.parameters import Faces
from keyface.miniature.rendering import renderer
from keyface.progress import each

PROMPTED: tuple[str, ...] = (
    "Eyeglasses", "Sunglasses", "Beard", "Smiling", "Young", "Male", "Bangs",
    "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair",
)  # fmt: skip
"""Labels whose control by the prompt is measured."""


def held_out_faces(count: int, per_identity: int, seed: int = 7) -> Faces:
    """Draw held-out people, `per_identity` pictures each with other attributes, pose and light."""
    ids = (world.HELD_OUT + 10_000 + torch.arange(count)).repeat_interleave(per_identity)
    return world.draw_faces(ids, seed, RATES)


def render_all(faces: Faces, size: int = 256, chunk: int = 32) -> tuple[Tensor, Tensor]:
    """Render faces: images (B, 3, size, size) in [-1, 1] and landmarks (B, 5, 2) in pixels."""
    pictures = [renderer.render(faces[i : i + chunk], size) for i in range(0, len(faces), chunk)]
    return torch.cat([p.image for p in pictures]), torch.cat([p.landmarks for p in pictures])


def mean_psnr(images: Tensor, reference: Tensor) -> float:
    """Return the mean over images (B, 3, H, W) in [-1, 1] of their PSNR in dB."""
    return float(torch.stack([psnr(*pair) for pair in zip(images, reference, strict=True)]).mean())


@torch.inference_mode()
def autoencoder_psnr(autoencoder: PatchAutoencoder, images: Tensor, chunk: int = 32) -> dict[str, float]:
    """Return the PSNR in dB of the decoder and of the PCA of equal size alone."""
    scores: dict[str, list[float]] = {"psnr": [], "psnr_linear": []}
    for part in torch.split(images, chunk):
        latents = autoencoder.encode(part).latent_dist.mode()
        scores["psnr"].append(mean_psnr(autoencoder.decode(latents).sample, part))
        scores["psnr_linear"].append(mean_psnr(autoencoder.decode_linear(latents), part))
    return {name: sum(values) / len(values) for name, values in scores.items()}


@torch.inference_mode()
def recognition_auc(network: Recognizer, images: Tensor, landmarks: Tensor, ids: Tensor) -> float:
    """Return the AUC of same against different person over all pairs of pictures."""
    embeddings = torch.cat(
        [network(i, p) for i, p in zip(torch.split(images, 64), torch.split(landmarks, 64), strict=True)]
    )
    return float(verification_auc(embeddings, ids))


def verification_auc(embeddings: Tensor, identity: Tensor) -> Tensor:
    """Return the AUC of cosine similarity over all pairs of (B, D) unit embeddings."""
    similarity = embeddings @ embeddings.T
    rows, columns = torch.triu_indices(len(identity), len(identity), offset=1)
    same = identity[rows] == identity[columns]
    # torchmetrics takes scores outside [0, 1] for logits; a shifted cosine is left alone.
    return binary_auroc((similarity[rows, columns] + 1) / 2, same.long())


@torch.inference_mode()
def classifier_accuracy(
    classifier: AttributeClassifier, images: Tensor, truth: Mapping[str, Tensor]
) -> dict[str, dict[str, float]]:
    """Return for each label the balanced accuracy and the number of positives and negatives."""
    parts = [classifier.predict(part) for part in torch.split(images, 64)]
    return {
        name: balanced_accuracy(torch.cat([part[name] for part in parts]), truth[name])
        for name in classifier.labels
    }


def balanced_accuracy(predicted: Tensor, true: Tensor) -> dict[str, float]:
    """Return the mean of the hit rates on both kinds, with their numbers.

    Args:
        predicted: (B,) bool.
        true: (B,) bool.

    Returns:
        `accuracy` (nan where one kind is missing), `positives`, `negatives`.
    """
    hits, rejections = predicted[true].float().mean(), (~predicted[~true]).float().mean()
    return {
        "accuracy": float((hits + rejections) / 2),
        "positives": int(true.sum()),
        "negatives": int((~true).sum()),
    }


def caption_recall(
    captioner: Callable[[Tensor], str], clips: int, frames: int = 4, size: int = 256
) -> dict[str, dict[str, float]]:
    """Caption rendered clips of held-out people and compare with what is true of them, field by field.

    Args:
        captioner: Frames (T, 3, size, size) in [-1, 1] of one clip to its caption.
        clips: How many people, one clip each.
        frames: Frames of a clip, at five a second.
        size: Rows and columns.

    Returns:
        For each true phrase the share of its clips whose caption says so (`recall`), and how many those are
        (`clips`).
    """
    counts: dict[str, list[int]] = {}
    for number in each(range(clips), "caption", "clip"):
        faces = draw_clip(world.HELD_OUT + 20_000 + number, 13, frames, fps=5.0, rates=RATES)
        said = captioner(renderer.render_images(faces, size)).split(", ")
        for phrase in captions.write_captions(faces[:1])[0].split(", "):
            counts.setdefault(phrase, []).append(phrase in said)
    return {
        phrase: {"recall": sum(hits) / len(hits), "clips": len(hits)}
        for phrase, hits in sorted(counts.items())
    }


@torch.inference_mode()
def generate(
    backbone: Backbone,
    prompts: Sequence[str],
    steps: int = 20,
    guidance_scale: float = 3.0,
    seed: int = 0,
    chunk: int = 25,
) -> Tensor:
    """Sample one image a prompt with DDIM and classifier-free guidance, (B, 3, H, W) in [-1, 1]."""
    images: list[Tensor] = []
    side = backbone.unet.config.sample_size
    path = GridPath(Grid.of(backbone.scheduler, steps), steps)
    generator = torch.Generator().manual_seed(seed)
    empty = backbone.encode_prompts([""])
    for start in each(range(0, len(prompts), chunk), "sample", "part"):
        part = list(prompts[start : start + chunk])
        guidance = Guidance.of(backbone.encode_prompts(part), empty, guidance_scale)
        noise = torch.randn((len(part), backbone.latent_channels, side, side), generator=generator)
        latents = sample(partial(guidance.predict, backbone.unet), noise, path)
        images.append(backbone.decode_latents(latents).clamp(-1, 1))
    return torch.cat(images)


def prompt_control(
    backbone: Backbone, classifier: AttributeClassifier, count: int = 200, guidance_scale: float = 3.0
) -> tuple[dict[str, dict[str, float]], Tensor]:
    """Sample faces from captions of held-out people and ask the classifier what it sees.

    Returns:
        For each label of `PROMPTED` the balanced accuracy of "seen" against "asked for", and the
        images (count, 3, H, W).
    """
    faces = held_out_faces(count, 1, seed=11)
    images = generate(backbone, captions.write_captions(faces), guidance_scale=guidance_scale)
    scores = classifier_accuracy(classifier, images, world.true_labels(faces))
    return {name: scores[name] for name in PROMPTED}, images


@torch.inference_mode()
def inversion_psnr(
    backbone: Backbone, images: Tensor, prompts: Sequence[str], steps: int = 25, chunk: int = 16
) -> dict[str, float]:
    """Return the PSNR in dB of invert-and-denoise, and of the autoencoder alone, on the same images."""
    scores: dict[str, list[float]] = {"reconstruction": [], "autoencoder": []}
    for start in range(0, len(images), chunk):
        part = images[start : start + chunk]
        text = backbone.encode_prompts(list(prompts[start : start + chunk]))
        latents = backbone.encode_images(part)
        inverted = invert(backbone.unet, backbone.scheduler, latents, text, steps)[-1]
        returned = denoise(backbone.unet, backbone.scheduler, inverted, text, steps)
        scores["reconstruction"].append(mean_psnr(backbone.decode_latents(returned), part))
        scores["autoencoder"].append(mean_psnr(backbone.decode_latents(latents), part))
    return {name: sum(values) / len(values) for name, values in scores.items()}
