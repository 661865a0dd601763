"""From keyframes to every frame (Eq. 4): token by token in attn1, or once on the latents."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from keyface.editing.correspondence import Correspondences
from keyface.editing.keyframes import Neighbours


@dataclass
class KeyframeTokens:
    """attn1 outputs of ε2 on the keyframes that are still needed at this step.

    Attributes:
        keyframes: Their frame numbers, in the order of the tokens.
        outputs: (branches, K, S, C) by layer.
    """

    keyframes: list[int] = field(default_factory=list)
    outputs: dict[str, Tensor] = field(default_factory=dict)

    def add(self, keyframes: Sequence[int], outputs: dict[str, Tensor]) -> None:
        """Append the tokens (branches, F, S, C) of `keyframes`."""
        if self.keyframes:
            outputs = {
                name: torch.cat([self.outputs[name], tokens], dim=1) for name, tokens in outputs.items()
            }
        self.keyframes = [*self.keyframes, *keyframes]
        self.outputs = dict(outputs)

    def keep(self, wanted: set[int]) -> None:
        """Free the tokens of all other keyframes."""
        rows = [i for i, keyframe in enumerate(self.keyframes) if keyframe in wanted]
        if len(rows) < len(self.keyframes):
            self.keyframes = [self.keyframes[i] for i in rows]
            self.outputs = {name: tokens[:, rows] for name, tokens in self.outputs.items()}


@dataclass
class Blend:
    """How the frames of one batch take from keyframes.

    Attributes:
        rows: (F, 2), rows of the (before, after) keyframes in the tokens or latents taken from.
        weights: (F,), the share w₋ of the first.
        fields: (F, 2, S), corresponding tokens by S.
        correspondences: Gives fields of other resolutions.
    """

    rows: Tensor
    weights: Tensor
    fields: dict[int, Tensor]
    correspondences: Correspondences

    @classmethod
    def of(
        cls,
        frames: Sequence[int],
        follows: Sequence[Neighbours],
        keyframes: Sequence[int],
        correspondences: Correspondences,
        device: torch.device,
    ) -> "Blend":
        """Return the blend of `frames`, each following its `follows`; `keyframes` in their rows' order."""
        row = {keyframe: i for i, keyframe in enumerate(keyframes)}
        fields = correspondences.fields(frames, device)
        rows = torch.tensor([[row[n.before], row[n.after]] for n in follows], device=device)
        weights = torch.tensor([n.weight for n in follows], device=device)
        return cls(rows, weights, fields, correspondences)

    def tokens(self, keyframe_tokens: Tensor) -> Tensor:
        """Blend tokens by Eq. 4: w₋ · token of the keyframe before + w₊ · token of the one after.

        Args:
            keyframe_tokens: (branches, K, S, C).

        Returns:
            (branches, F, S, C).
        """
        size = keyframe_tokens.shape[2]
        nearest = self.correspondences.at(self.fields, size)
        flat = self.rows[..., None] * size + nearest
        tokens = keyframe_tokens.flatten(1, 2)
        shape = (tokens.shape[0], flat.shape[0], size, tokens.shape[-1])
        before = tokens.index_select(1, flat[:, 0].flatten()).view(shape)
        after = tokens.index_select(1, flat[:, 1].flatten()).view(shape)
        weight = self.weights.to(tokens.dtype)[None, :, None, None]
        return torch.lerp(after, before, weight)

    def latents(self, keyframe_latents: Tensor) -> Tensor:
        """Blend latents cell by cell, by Eq. 4: (K, C, h, w) → (F, C, h, w)."""
        size = keyframe_latents.shape[-2:]
        cells = keyframe_latents.flatten(2).transpose(1, 2)[None]
        return self.tokens(cells)[0].transpose(1, 2).reshape(-1, keyframe_latents.shape[1], *size)


class PropagatedAttention:
    """attn1 of ε2 on other frames: no attention, but the blended tokens of the keyframes."""

    def __init__(self, name: str, tokens: KeyframeTokens, blend: Blend) -> None:
        self.name, self.source, self.blend = name, tokens, blend

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the output (branches · F, S, C) of the layer."""
        return self.blend.tokens(self.source.outputs[self.name]).flatten(0, 1).to(hidden_states.dtype)
