"""Networks that judge edits: recognizers, attribute classifier, CLIP and optical flow.

Judges must not have trained what they judge. Their versions decide which cached scores still hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from keyface.faces.recognition import Recognizer
from keyface.files import joint_sha256, sha256
from keyface.losses import ImageTextEncoder
from keyface.metrics.flow import FlowEstimator
from keyface.models.backbones import miniature_weights
from keyface.models.protocols import AttributeClassifier
from keyface.models.recognizers import load_recognizers
from keyface.plugins import Category
from keyface.plugins.extensions import Judge, version_of


@dataclass(frozen=True)
class Judges:
    """Networks that score edited clips, and images while a branch is trained.

    Attributes:
        recognizers: Face recognition networks by name; no "/" in a name. Clips are scored with whole frames
            and no landmarks: a network that needs aligned faces finds and aligns them itself.
        classifier: Says whether an edit is there; None leaves edit success out.
        image_text: Gives the directional similarity; None leaves it out.
        flow: Estimates motion where the clip set has no exact flow; None leaves the temporal metrics out
            where there is none.
        versions: For each recognizer by its name, and as "attributes", "clip" and "flow" for the others:
            something that changes whenever the judge does, such as its weights' hash. Only kept scores need
            them, see `require_versions`.
        remark: What a reader must know about these judges.
    """

    recognizers: Mapping[str, Recognizer] = field(default_factory=dict)
    classifier: AttributeClassifier | None = None
    image_text: ImageTextEncoder | None = None
    flow: FlowEstimator | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    def __post_init__(self) -> None:
        for name in self.recognizers:
            if not name or "/" in name:
                raise ValueError(f"recognizer name {name!r}: it may not be empty or hold a '/'")

    def named(self) -> dict[str, object]:
        """Return the judges that there are, under the names that `versions` uses."""
        others = {"attributes": self.classifier, "clip": self.image_text, "flow": self.flow}
        return {name: judge for name, judge in (others | {**self.recognizers}).items() if judge is not None}

    def require_versions(self) -> None:
        """Check that scores by these judges can be kept and compared.

        Raises:
            ValueError: There is no recognizer, or a judge has no version.
        """
        if not self.recognizers:
            raise ValueError("at least one recognizer is needed to judge identity")
        for name in self.named():
            if name not in self.versions:
                raise ValueError(
                    f"judge {name!r} has no version: name its weights, so that no score outlives them"
                )

    @classmethod
    def miniature(cls) -> Self:
        """Return the judges that come with keyface; only the CLIP pair trained a branch (ε2, Eq. 6)."""
        from keyface.miniature import zoo

        folders = (*zoo.RECOGNIZERS, "attributes", "clip")
        return cls(
            zoo.recognizers(),
            zoo.attribute_classifier(),
            zoo.clip_pair(),
            versions={folder: folder_sha256(zoo.WEIGHTS / folder) for folder in folders},
            remark=(
                "The judges are the miniature's: they know rendered faces and no real ones. ε2 was trained "
                "against the same CLIP pair, so the direction similarity is no independent word on it."
            ),
        )

    @classmethod
    def load(cls, place: str) -> "Judges":
        """Call a user's function that makes judges.

        Args:
            place: "package.module:function".

        Raises:
            ValueError: The text has another form, or the function returns something else or judges without
                versions.
        """
        module, colon, name = place.partition(":")
        if not colon or not module or not name:
            raise ValueError(f"--judges {place!r}: give package.module:function")
        function = getattr(import_module(module), name, None)
        if not callable(function):
            raise ValueError(f"--judges {place}: {module} has no function {name!r}")
        judges = function()
        if not isinstance(judges, Judges):
            raise ValueError(f"--judges {place}: it gave a {type(judges).__name__}, not Judges")
        judges.require_versions()
        return judges

    def with_flow(self, flow: FlowEstimator) -> Self:
        """Return these judges with a flow estimator; its name, which holds a hash, is its version."""
        return replace(self, flow=flow, versions={**self.versions, "flow": flow.name})


def find_judges(name: str | Judges | None) -> Judges:
    """Read the judges of a training run's validation, by what a config says.

    Args:
        name: `miniature` or `miniature:FOLDER`; recognizers of `keyface.models.recognizers`, separated by
            commas, such as `cosface,facenet`; None for none; or judges, which are returned as they are.

    Raises:
        LookupError: There is no such recognizer.
        FileNotFoundError: Weights are not here; all that are missing are listed.
    """
    if isinstance(name, Judges):
        return name
    if name is None:
        return Judges()
    weights = miniature_weights(name)
    if weights is None:
        return Judges(load_recognizers([each.strip() for each in name.split(",") if each.strip()]))
    from keyface.miniature import zoo

    return Judges(zoo.recognizers(weights), zoo.attribute_classifier(weights))


@torch.inference_mode()
def successes(
    classifier: AttributeClassifier | None, images: Tensor, categories: Sequence[Category]
) -> list[Tensor | None]:
    """Return for each category how far each image looks as after its edit.

    Args:
        classifier: Knows some labels; None knows none.
        images: (B, 3, H, W) in [-1, 1].
        categories: Whose own judges come first, the classifier after them.

    Returns:
        (B,) in [0, 1] each, on the images' device; None where nobody can tell.

    Raises:
        ValueError: A category's judge gives something else.
    """
    asked = any(category.judge is None for category in categories)
    labels = classifier.predict(images) if classifier is not None and asked else {}
    found: list[Tensor | None] = []
    for category in categories:
        if category.judge is not None:
            found.append(_judged(category, category.judge, images))
        elif category.attribute in labels:
            found.append((labels[category.attribute] == category.present).float())
        else:
            found.append(None)
    return found


def _judged(category: Category, judge: Judge, images: Tensor) -> Tensor:
    scores = judge(images)
    if tuple(scores.shape) != (len(images),) or not bool(((scores >= 0) & (scores <= 1)).all()):
        raise ValueError(
            f"edit {category.name!r}: its judge gave {tuple(scores.shape)} for {len(images)} images; it must "
            "be one number from 0 to 1 for each"
        )
    return scores.float().to(images.device)


def edit_success(
    classifier: AttributeClassifier | None, frames: Tensor, *categories: Category
) -> float | None:
    """Return the share of frames (T, 3, H, W) in [-1, 1] that look as all categories want them.

    Where judges give shares of success, a frame counts by the least of them.

    Args:
        classifier: As of `successes`.
        frames: Of an edit.
        categories: What was asked for.

    Returns:
        None where nobody can tell of one of the categories.
    """
    found = [each for each in successes(classifier, frames, categories) if each is not None]
    if len(found) < len(categories) or not found:
        return None
    return float(torch.stack(found).amin(dim=0).mean())


def judge_versions(categories: Sequence[Category]) -> dict[str, str]:
    """Return what changes whenever a judge of a category's own does, by category; without judges nothing."""
    return {each.name: version_of(each.judge) for each in categories if each.judge is not None}


def folder_sha256(folder: Path) -> str:
    """Hash all safetensors files of a folder together with their names."""
    files = sorted(folder.rglob("*.safetensors"))
    return joint_sha256((path.relative_to(folder).as_posix(), sha256(path)) for path in files)
