"""The paper's two losses: Eq. 5 (identity branch, ε1) and Eq. 6 (direction branch, ε2)."""

from contextlib import nullcontext
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.recognition import Recognizer


class ImageTextEncoder(Protocol):
    """A joint image-text embedding such as CLIP: f_I and f_T of Eq. 6."""

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images (B, 3, H, W) in [-1, 1] as unit vectors (B, D), differentiably."""
        ...

    def encode_text(self, texts: list[str]) -> Tensor:
        """Embed texts as unit vectors (B, D)."""
        ...


class IdentityTerms(NamedTuple):
    """Eq. 5 and its two unweighted parts, scalars, and Eq. 5 of each image, (B,) without gradient."""

    total: Tensor
    pixel: Tensor
    identity: Tensor
    each: Tensor


class DirectionTerms(NamedTuple):
    """Eq. 6 and its two unweighted parts, scalars, and Eq. 6 of each image, (B,) without gradient."""

    total: Tensor
    content: Tensor
    direction: Tensor
    each: Tensor


def identity_loss(
    reconstruction: Tensor,
    original: Tensor,
    reconstruction_features: Tensor,
    original_features: Tensor,
    *,
    pixel_weight: float = 1.0,
    identity_weight: float = 1.0,
) -> IdentityTerms:
    """Compute Eq. 5: `L_id = |ŷ0 − y0|₁ + D_cos(f_arc(ŷ0), f_arc(y0))`.

    The pixel term is the mean over pixels and channels, so that the weights mean the same at any size.
    D_cos is 1 − cos, between 0 and 2.

    Args:
        reconstruction: ŷ0, (B, 3, H, W) in [-1, 1].
        original: y0, (B, 3, H, W) in [-1, 1].
        reconstruction_features: f_arc(ŷ0), (B, D), unit length.
        original_features: f_arc(y0), (B, D), unit length.
        pixel_weight: Weight of the pixel term.
        identity_weight: Weight of the identity term.
    """
    pixels = F.l1_loss(reconstruction.float(), original.float(), reduction="none").flatten(1).mean(dim=1)
    identities = 1 - (reconstruction_features.float() * original_features.float()).sum(dim=-1)
    pixel, identity = pixels.mean(), identities.mean()
    each = (pixel_weight * pixels + identity_weight * identities).detach()
    return IdentityTerms(pixel_weight * pixel + identity_weight * identity, pixel, identity, each)


def soft_normalize(vectors: Tensor, epsilon: float) -> Tensor:
    """Divide vectors (…, D) by `sqrt(‖v‖² + ε²)`.

    Unlike division by the norm this is smooth at 0, where it gives 0 with gradient 1/ε: a generated image
    that equals its source still learns which way to go, and nothing becomes NaN.
    """
    return vectors / torch.sqrt((vectors * vectors).sum(dim=-1, keepdim=True) + epsilon**2)


def direction_loss(
    generated: Tensor,
    source: Tensor,
    reference: Tensor,
    target_text: Tensor,
    reference_text: Tensor,
    *,
    content_weight: float = 0.3,
    direction_weight: float = 0.7,
    normalize_directions: bool = True,
    epsilon: float = 1e-3,
) -> DirectionTerms:
    """Compute Eq. 6: `L_dir = λ1 ‖f_I(y_gen) − f_I(y0)‖₂ + λ2 [1 − cos(Δ_I, Δ_T)]`.

    `Δ_I = f_I(y_gen) − f_I(y_ref)` and `Δ_T = f_T(p_tar) − f_T(p_ref)`. All features are unit
    vectors (B, D).

    Args:
        generated: f_I(y_gen).
        source: f_I(y0).
        reference: f_I(y_ref); the paper's reference image is y0 itself.
        target_text: f_T(p_tar).
        reference_text: f_T(p_ref).
        content_weight: λ1.
        direction_weight: λ2.
        normalize_directions: True: the cosine of the two directions, as in StyleGAN-NADA. False: their plain
            inner product `1 − Δ_I·Δ_T`, which also rewards long steps.
        epsilon: Length below which a direction counts as none; see `soft_normalize`.
    """
    generated, source, reference = generated.float(), source.float(), reference.float()
    contents = torch.linalg.vector_norm(generated - source, dim=-1)
    image_direction = generated - reference
    text_direction = target_text.float() - reference_text.float()
    if normalize_directions:
        image_direction = soft_normalize(image_direction, epsilon)
        text_direction = soft_normalize(text_direction, epsilon)
    directions = 1 - (image_direction * text_direction).sum(dim=-1)
    content, direction = contents.mean(), directions.mean()
    each = (content_weight * contents + direction_weight * directions).detach()
    return DirectionTerms(content_weight * content + direction_weight * direction, content, direction, each)


class IdentityLoss(nn.Module):
    """Eq. 5 on images: `identity_loss` with the features of a frozen face recognition network.

    Args:
        network: f_arc; differentiable with respect to the images.
        pixel_weight: Weight of the pixel term.
        identity_weight: Weight of the identity term.
    """

    def __init__(self, network: Recognizer, pixel_weight: float = 1.0, identity_weight: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.pixel_weight = pixel_weight
        self.identity_weight = identity_weight

    def forward(self, reconstruction: Tensor, original: Tensor, landmarks: Tensor | None) -> IdentityTerms:
        """Compare ŷ0 with y0, (B, 3, H, W) in [-1, 1], both aligned by y0's landmarks (B, 5, 2)."""
        with torch.no_grad():
            original_features = self.network(original, landmarks)
        return identity_loss(
            reconstruction,
            original,
            self.network(reconstruction, landmarks),
            original_features,
            pixel_weight=self.pixel_weight,
            identity_weight=self.identity_weight,
        )


class DirectionLoss(nn.Module):
    """Eq. 6 on images and prompts: `direction_loss` with the features of a frozen image-text encoder.

    Args:
        encoder: f_I and f_T.
        content_weight: λ1.
        direction_weight: λ2.
        normalize_directions: See `direction_loss`.
        epsilon: See `direction_loss`.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        content_weight: float = 0.3,
        direction_weight: float = 0.7,
        normalize_directions: bool = True,
        epsilon: float = 1e-3,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.content_weight = content_weight
        self.direction_weight = direction_weight
        self.normalize_directions = normalize_directions
        self.epsilon = epsilon

    def forward(
        self,
        generated: Tensor,
        source: Tensor,
        target_prompts: list[str],
        reference_prompts: list[str],
        reference: Tensor | None = None,
    ) -> DirectionTerms:
        """Score edited images.

        Args:
            generated: y_gen, (B, 3, H, W) in [-1, 1].
            source: y0, (B, 3, H, W) in [-1, 1].
            target_prompts: p_tar, B prompts.
            reference_prompts: p_ref, B prompts.
            reference: y_ref, (B, 3, H, W) in [-1, 1]; None: y0, as in the paper. The autoencoder's round
                trip of y0 is the other sensible choice: it takes the codec's own error out of Δ_I.
        """
        # Δ_I is a small difference of features: those of bf16, under autocast, point elsewhere.
        # Shapes alone, on the meta device, know no autocast.
        exact = nullcontext() if generated.is_meta else torch.autocast(generated.device.type, enabled=False)
        with exact:
            return self._compare(generated.float(), source, target_prompts, reference_prompts, reference)

    def _compare(
        self,
        generated: Tensor,
        source: Tensor,
        target_prompts: list[str],
        reference_prompts: list[str],
        reference: Tensor | None,
    ) -> DirectionTerms:
        with torch.no_grad():
            source_features = self.encoder.encode_image(source)
            reference_features = (
                source_features if reference is None else self.encoder.encode_image(reference)
            )
            target_text = self.encoder.encode_text(target_prompts)
            reference_text = self.encoder.encode_text(reference_prompts)
        return direction_loss(
            self.encoder.encode_image(generated),
            source_features,
            reference_features,
            target_text,
            reference_text,
            content_weight=self.content_weight,
            direction_weight=self.direction_weight,
            normalize_directions=self.normalize_directions,
            epsilon=self.epsilon,
        )
