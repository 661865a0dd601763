"""Guidance of outputs that are written out."""

from types import SimpleNamespace

import pytest
import torch

from keyface.diffusion.guidance import Guidance

TEXT = torch.zeros(1, 8, 16)


def places(*channels):
    """Places (3, 2, 1, n) of two channels each, in three equal images."""
    return torch.tensor(channels).T.reshape(1, 2, 1, -1).repeat(3, 1, 1, 1)


def test_guided_outputs_by_hand():
    """Each place goes s times as far from the negative output as the target does."""
    outputs = {"negative": places([1.0, 1.0], [0.0, 2.0]), "target": places([2.0, 1.0], [0.0, 1.0])}
    guided = Guidance.of(TEXT, TEXT, 3.0).combine(outputs)
    torch.testing.assert_close(guided, places([4.0, 1.0], [0.0, -1.0]))
    torch.testing.assert_close(Guidance(TEXT, TEXT).combine(outputs), outputs["target"])
    assert Guidance.of(TEXT, TEXT, 1.0).combine({"target": outputs["target"]}) is outputs["target"]


def test_a_limit_by_hand():
    """Two channels pushed by (3, 4) and (0.3, 0.4) beyond the target: root mean squares √12.5, √0.125."""
    outputs = {"negative": places([0.0, 0.0], [0.0, 0.0]), "target": places([1.5, 2.0], [0.15, 0.2])}
    limit = 12.5**0.5 / 5
    guided = Guidance.of(TEXT, TEXT, 3.0, limit).combine(outputs)
    torch.testing.assert_close(guided, places([1.5 + 0.6, 2.0 + 0.8], [0.15 + 0.3, 0.2 + 0.4]))
    size = (guided - outputs["target"]).square().mean(dim=1).sqrt().flatten()
    assert size.tolist() == pytest.approx([limit, 0.125**0.5] * 3)


class Controlled:
    """A network whose output is what the control adds, and that control: the latents, doubled."""

    dtype = torch.float32

    def residuals(self, latents, timestep, text):
        return {"added": 2 * latents}

    def __call__(self, latents, timestep, encoder_hidden_states, added):
        return SimpleNamespace(sample=added)


def test_both_branches_are_controlled():
    latents, network = torch.randn(3, 4, 8, 8), Controlled()
    guided = Guidance.of(TEXT, TEXT, 3.0).predict(network, latents, 500, network)
    torch.testing.assert_close(guided, 2 * latents)
