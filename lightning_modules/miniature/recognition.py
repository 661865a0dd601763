"""Trains the miniature's identity networks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.lightning_modules.miniature.base import Batch, Gathered, MiniatureModule
from keyface.miniature.measure import verification_auc
from keyface.miniature.networks.recognition import Architecture, IdentityNetwork
from keyface.miniature.population.parameters import IDENTITY_NAMES

LANDMARK_WEIGHT = 50.0
"""Weight of the found landmarks' error in image sides: 1 % of the side then counts like half a nat."""


class RecognitionModule(MiniatureModule):
    """ArcFace's margin over the training identities, with regression of the true identity parameters.

    Args:
        identities: Number of training identities, as in the datamodule.
        architecture: Body of the network.
        width: Channels of its first stage.
        dim: Size of the embedding.
        aligned: Warp faces to the five-point template first.
        finds_faces: Find the landmarks itself first; learned from the true ones beside the rest.
        scale: ArcFace's s.
        margin: ArcFace's angular margin m in radians.
        trait_weight: Weight of the regression.
        lr: Peak learning rate.
        flat: Fraction of the run before the learning rate falls.
    """

    network: IdentityNetwork

    def __init__(
        self,
        identities: int = 4000,
        architecture: Architecture = "iresnet",
        width: int = 32,
        dim: int = 128,
        aligned: bool = False,
        finds_faces: bool = False,
        scale: float = 16.0,
        margin: float = 0.15,
        trait_weight: float = 4.0,
        lr: float = 2e-3,
        flat: float = 0.5,
    ) -> None:
        super().__init__(lr=lr, weight_decay=0.05, flat=flat)
        self.save_hyperparameters()
        self.network = IdentityNetwork(architecture, width, dim, aligned, finds_faces)
        self.centres = nn.Parameter(F.normalize(torch.randn(identities, dim), dim=1))
        self.traits = nn.Linear(dim, len(IDENTITY_NAMES))
        self.scale, self.margin, self.trait_weight = scale, margin, trait_weight
        self._held_out = Gathered()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return margin loss plus weighted regression loss, and the error of found landmarks."""
        features = self.network.features(batch["image"], batch["landmarks"])
        cosine = F.normalize(features, dim=1) @ F.normalize(self.centres, dim=1).T
        logits = self.scale * add_angular_margin(cosine, batch["identity"], self.margin)
        margin = F.cross_entropy(logits, batch["identity"])
        traits = F.mse_loss(self.traits(features), batch["traits"])
        self.log_dict({"train/margin": margin, "train/traits": traits}, prog_bar=True)
        loss = margin + self.trait_weight * traits
        if self.network.finder is not None:
            found = self.network.finder(batch["image"])
            landmarks = F.l1_loss(found, batch["landmarks"]) / batch["image"].shape[-1]
            self.log("train/landmarks", landmarks, prog_bar=True)
            loss = loss + LANDMARK_WEIGHT * landmarks
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect embeddings of held-out people."""
        self._held_out.add(self.network(batch["image"], batch["landmarks"]), batch["identity"])

    def on_validation_epoch_end(self) -> None:
        """Log the area under the ROC curve of same against different person over all pairs."""
        embeddings, identities = self._held_out.take()
        self.log("val/auc", verification_auc(embeddings, identities), prog_bar=True)


def add_angular_margin(cosine: Tensor, identity: Tensor, margin: float) -> Tensor:
    """Add ArcFace's margin to the angle of the true class.

    Args:
        cosine: (B, N) cosines between embeddings and class centres.
        identity: (B,) true classes.
        margin: Radians.

    Returns:
        (B, N) cosines in which the true class has cos(θ + margin); where θ + margin would pass π
        the linear continuation keeps the gradient's sign.
    """
    true = cosine.gather(1, identity[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    shifted = torch.cos(torch.acos(true) + margin)
    shifted = torch.where(true > math.cos(math.pi - margin), shifted, true - margin * math.sin(margin))
    return cosine.scatter(1, identity[:, None], shifted)
