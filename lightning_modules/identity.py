"""ε1, the identity branch: a U-Net that returns the same person (Eq. 5)."""

from functools import partial

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.guidance import Guidance
from keyface.diffusion.sampling import ImagePath, sample
from keyface.diffusion.schedule import even_timesteps
from keyface.lightning_modules.branch import Batch, BranchModule, Losses, StepInputs
from keyface.lightning_modules.sampling import INVERTED, NoisyInput, noisy_latents
from keyface.lightning_modules.tuning.hyperparameters import plain
from keyface.lightning_modules.tuning.lora import EVERYTHING, Tuning
from keyface.losses import IdentityLoss, IdentityTerms
from keyface.models.backbones import find_backbone
from keyface.models.judges import Judges, find_judges
from keyface.models.recognizers import find_identity_network
from keyface.models.requirements import require_weights


class IdentityModule(BranchModule):
    """Trains ε1: from a noisy latent z_t and the caption back to the image, judged by Eq. 5.

    The gradient goes from the face recognition network through alignment and VAE decoder to the U-Net.

    Args:
        backbone: `"miniature"` or a folder in diffusers' layout: the base that ε1 starts from.
        identity_network: f_arc: `"miniature"`, `"arcface"` or another of `keyface.models.recognizers`,
            also as `"arcface:path/to/network.onnx"`, or a class_path of a
            `keyface.faces.recognition.Recognizer`.
        evaluators: `"miniature"` to score validation images with networks that are not trained against.
        noisy_input: Where z_t comes from.
        unroll_steps: DDIM steps from z_t to ŷ0, all with gradient; 1 is the one-step x̂0.
        pixel_weight: Weight of Eq. 5's pixel term.
        identity_weight: Weight of Eq. 5's identity term.
        tuning: What is trained and how.
        optimizer: By class_path.
        lr_scheduler: By class_path; None: constant.
        seed: Decides the noise levels.

    Example:
        `lightning fit -c configs/miniature/identity.yaml`
    """

    title = "Identity branch (ε1)"

    def __init__(
        self,
        backbone: str | Backbone = "miniature",
        identity_network: str | nn.Module = "miniature",
        evaluators: str | Judges | None = None,
        noisy_input: NoisyInput = INVERTED,
        unroll_steps: int = 1,
        pixel_weight: float = 1.0,
        identity_weight: float = 1.0,
        tuning: Tuning = EVERYTHING,
        optimizer: OptimizerCallable = AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        if unroll_steps < 1:
            raise ValueError(f"unroll_steps is {unroll_steps}; at least 1 is needed")
        hyperparameters = plain(locals())
        require_weights(backbone, identity_network, evaluators)
        base, network = find_backbone(backbone), find_identity_network(identity_network)
        noise = NoisyInput.of(noisy_input)
        super().__init__(
            base,
            [network],
            find_judges(evaluators),
            noise.source == "inverted",
            tuning,
            optimizer,
            lr_scheduler,
            seed,
            hyperparameters,
        )
        self.noisy_input = noise
        self.unroll_steps = unroll_steps
        self.loss = IdentityLoss(network, pixel_weight, identity_weight)

    def reconstruct(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return ŷ0 (B, 3, H, W): the batch's images noised, denoised by ε1 and decoded, with gradient."""
        latents = self.clean_latents(batch)
        with torch.no_grad():
            text = self.backbone.encode_prompts(batch["caption"])
            noisy, timesteps = noisy_latents(self.noisy_input, self.backbone, batch, latents, text, generator)
        self.timesteps = timesteps
        return self._denoise(noisy, timesteps, text)

    def _denoise(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        original = sample(
            partial(Guidance(text).predict_learning, self.unet),
            noisy,
            ImagePath(self.backbone.scheduler, even_timesteps(timesteps, self.unroll_steps)),
        )
        return self.decode(original)

    def rehearse(self, inputs: StepInputs) -> Tensor:
        """Return Eq. 5."""
        reconstruction = self._denoise(inputs.latents, inputs.timesteps, inputs.text)
        terms: IdentityTerms = self.loss(reconstruction, inputs.images, inputs.landmarks)
        return terms.total

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Return Eq. 5 of one batch and its parts; outside training also the identity that the judges see."""
        reconstruction = self.reconstruct(batch, generator)
        terms = self.loss(reconstruction, batch["image"], batch["landmarks"])
        values = {"loss": terms.total, "pixel": terms.pixel, "identity": terms.identity}
        if not torch.is_grad_enabled():
            values |= self.identity_scores(reconstruction, batch)
        return Losses(values, len(reconstruction), terms.each)
