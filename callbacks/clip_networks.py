"""Who judges, captions and finds faces in the callback's clips; the miniature's networks for its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from keyface.faces.recognition import Recognizer
from keyface.losses import ImageTextEncoder
from keyface.models.backbones import MINIATURE
from keyface.models.captioners import find_captioner
from keyface.models.encoders import find_encoder
from keyface.models.finders import FaceSuite, find_suite
from keyface.models.protocols import AttributeClassifier
from keyface.models.recognizers import load_finding

CENTRE = "centre"
"""Name of what finds no face: the largest square in the middle."""

Recognizers = list[str] | dict[str, nn.Module] | None


@dataclass(frozen=True)
class ClipNetworks:
    """What the callback asks about its clips.

    Attributes:
        recognizers: By name, for the identity distance; whole frames, no landmarks.
        image_text: The CLIP pair of the direction similarity; None leaves it out.
        caption: First frame of a video (1, 3, H, W) in [-1, 1] to its caption; None where captions are given
            or known.
        suite: Finds the faces of videos; None takes the square in the middle, or the clip is no video.
        classifier: Tells the success of edits whose categories have no judge; None: nobody does.
    """

    recognizers: Mapping[str, Recognizer]
    image_text: ImageTextEncoder | None
    caption: Callable[[Tensor], str] | None = None
    suite: FaceSuite | None = None
    classifier: AttributeClassifier | None = None

    @classmethod
    def of_rendered(cls, recognizers: Recognizers, image_text: str | nn.Module | None) -> "ClipNetworks":
        """Return the networks for rendered clips, by default the miniature's."""
        from keyface.miniature import zoo

        return cls(
            _recognizers(recognizers or [MINIATURE]),
            find_encoder(image_text or MINIATURE),
            classifier=zoo.attribute_classifier(),
        )

    @classmethod
    def of_pictures(cls, recognizers: Recognizers, image_text: str | nn.Module | None) -> "ClipNetworks":
        """Return the networks for the data's pictures, none of which is the miniature's unless it is named.

        Raises:
            ValueError: No recognizer is named.
            MissingWeightsError: What is named is not here.
        """
        return cls(_named(recognizers, "pictures"), None if image_text is None else find_encoder(image_text))

    @classmethod
    def of_videos(
        cls,
        recognizers: Recognizers,
        image_text: str | nn.Module | None,
        captioner: str | None,
        finder: str,
    ) -> "ClipNetworks":
        """Return the networks for videos, none of which is the miniature's unless it is named.

        Args:
            recognizers: Names, or networks by name; see `load_finding`.
            image_text: See `find_encoder`; None leaves the direction similarity out.
            captioner: See `find_captioner`; None: captions are given.
            finder: See `find_suite`; `centre` takes the middle of each frame.

        Raises:
            ValueError: No recognizer is named.
            MissingWeightsError: What is named is not here.
        """
        return cls(
            _named(recognizers, "videos"),
            None if image_text is None else find_encoder(image_text),
            None if captioner is None else _first_caption(captioner),
            None if finder == CENTRE else find_suite(finder),
        )


def _named(recognizers: Recognizers, clips: str) -> Mapping[str, Recognizer]:
    if not recognizers:
        raise ValueError(
            f"VideoEditCallback: its clips are {clips}, so say who judges the person in them: recognizers: "
            f"[cosface, facenet] (`keyface weights list`), or [{MINIATURE}] if the faces are rendered"
        )
    return _recognizers(recognizers)


def _recognizers(named: list[str] | dict[str, nn.Module]) -> Mapping[str, Recognizer]:
    if isinstance(named, Mapping):
        return dict(named)
    found: dict[str, Recognizer] = {}
    if MINIATURE in named:
        from keyface.miniature import zoo

        found |= zoo.recognizers()
    real = [name for name in named if name != MINIATURE]
    return {**found, **(load_finding(real) if real else {})}


def _first_caption(name: str) -> Callable[[Tensor], str]:
    captioner = find_captioner(name)
    return lambda frame: captioner(frame)[0]
