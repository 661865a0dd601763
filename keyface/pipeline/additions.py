"""What a user adds to the networks of an edit: LoRAs, words, a ControlNet, a photo of the person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keyface.diffusion.additions.weighted import Weighted

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from keyface.diffusion.additions.control import ControlImages, ControlNet
    from keyface.diffusion.additions.face_adapter import FaceAdapter
    from keyface.diffusion.backbone import Backbone
    from keyface.pipeline.planning.plan import FindFaces
    from keyface.pipeline.request.request import VideoRequest

CANNY = "canny"
"""The control images that are made of the video itself."""

Given = str | Path | Weighted
"""`PATH`, or `PATH:STRENGTH`."""


class Added(NamedTuple):
    """Networks that an edit takes beside those that it always has.

    Attributes:
        controlnet: Makes predictions follow control images.
        face_adapter: Shows ε2 a person's face.
    """

    controlnet: ControlNet | None = None
    face_adapter: FaceAdapter | None = None


@dataclass(frozen=True)
class Additions:
    """Name what is added; `of` checks that it is there.

    Attributes:
        lora: Merged into the backbone's U-Net, ε1, ε2 and the text encoder, in this order.
        embedding: Files of words by textual inversion, which have no strength.
        controlnet: Folder of a ControlNet.
        ip_adapter: File of an IP-Adapter-FaceID.
    """

    lora: tuple[Weighted, ...] = ()
    embedding: tuple[Path, ...] = ()
    controlnet: Weighted | None = None
    ip_adapter: Weighted | None = None

    @classmethod
    def of(
        cls,
        lora: Iterable[Given] | None = None,
        embedding: Iterable[Path | str] | None = None,
        controlnet: Given | None = None,
        ip_adapter: Given | None = None,
    ) -> Additions:
        """Read what a user gave.

        Raises:
            FileNotFoundError: Something is not there.
            ValueError: A strength is out of range.
        """
        words = tuple(Path(each) for each in embedding or ())
        for each in words:
            if not each.is_file():
                raise FileNotFoundError(f"--embedding {each}: no such file; words have no strength")
        return cls(
            tuple(Weighted.of(each, "--lora") for each in lora or ()),
            words,
            None if controlnet is None else Weighted.of(controlnet, "--controlnet"),
            None if ip_adapter is None else Weighted.of(ip_adapter, "--ip-adapter"),
        )

    def add_to(self, backbone: Backbone, branches: Sequence[UNet2DConditionModel]) -> Added:
        """Add everything to a backbone and its branches, in place.

        Raises:
            ValueError: Something does not fit these networks, or is damaged.
        """
        # Each of these takes seconds to import, and most edits have none.
        unets, controlnet, adapter = [backbone.unet, *branches], None, None
        if self.lora:
            from keyface.diffusion.additions.lora import merge_lora

            for each in self.lora:
                merge_lora(each, unets, backbone.text_encoder)
        if self.embedding:
            from keyface.diffusion.additions.embedding import add_embedding

            for file in self.embedding:
                word = add_embedding(file, backbone.tokenizer, backbone.text_encoder)
                backbone.added_words.append(word)
        if self.controlnet is not None:
            from keyface.diffusion.additions.control import load_controlnet

            controlnet = load_controlnet(self.controlnet, backbone.unet)
        if self.ip_adapter is not None:
            from keyface.diffusion.additions.face_adapter import FaceAdapter

            text_encoder, words = backbone.text_encoder, backbone.text_length
            adapter = FaceAdapter.load(self.ip_adapter, unets, text_encoder, words)
        return Added(controlnet, adapter)

    @property
    def files(self) -> dict[str, tuple[Path, list[Path]]]:
        """Return the files of weights of each addition, and the place that they are named from, by role."""
        found = {}
        for number, each in enumerate(self.lora, start=1):
            from keyface.diffusion.additions.lora import lora_file

            found[f"lora-{number}"] = each.path, [lora_file(each)]
        for number, file in enumerate(self.embedding, start=1):
            found[f"embedding-{number}"] = file, [file]
        if self.controlnet is not None:
            from diffusers import ControlNetModel

            from keyface.diffusion.part_files import weight_files

            folder = self.controlnet.path
            found["controlnet"] = folder, weight_files(folder, ControlNetModel)
        if self.ip_adapter is not None:
            found["ip_adapter"] = self.ip_adapter.path, [self.ip_adapter.path]
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """Return names and strengths, for records; nothing where nothing is added."""
        found: dict[str, Any] = {}
        if self.lora:
            found["lora"] = [_fact(each) for each in self.lora]
        if self.embedding:
            found["embedding"] = [file.name for file in self.embedding]
        single = {"controlnet": self.controlnet, "ip_adapter": self.ip_adapter}
        return found | {role: _fact(each) for role, each in single.items() if each is not None}


def _fact(each: Weighted) -> Mapping[str, Any]:
    return {"name": each.path.name, "strength": each.strength}


def require_partners(additions: Additions, request: VideoRequest) -> None:
    """Refuse a network without what it looks at, and the other way round.

    Raises:
        ValueError: One of a pair is missing, or one photo would be shown for several people.
    """
    for network, given, option, what in (
        ("--controlnet", additions.controlnet, "--control", request.control),
        ("--ip-adapter", additions.ip_adapter, "--reference-face", request.reference_face),
    ):
        if (given is None) != (what is None):
            there, missing = (network, option) if what is None else (option, network)
            raise ValueError(f"{there} says nothing without {missing}; give both, or leave both out")
    roles = request.casting.roles
    if request.reference_face is not None and ("all" in roles or len(roles) > 1):
        raise ValueError("--reference-face shows one person, and several are edited; edit them one by one")


def reference_embedding(request: VideoRequest, own_finder: FindFaces | None) -> Tensor | None:
    """Return the embedding (1, E) of the face on the request's photo; None without a photo.

    The recognizer is ArcFace, as the published adapters were trained with; for faces that only the weights'
    own finder knows, the recognizer that comes along with it.

    Raises:
        MissingWeightsError: Nothing that finds faces is here, or no recognizer.
        ValueError: The photo shows no face, or several.
    """
    if request.reference_face is None:
        return None
    from keyface.footage import embedding_on
    from keyface.models.finders import find_suite
    from keyface.models.recognizers import load_recognizer

    if request.finder is None and own_finder is not None:
        suite = own_finder()
    else:
        suite = find_suite(request.finder or "auto")
        if suite.name != "insightface":  # whose recognizer is ArcFace
            suite = replace(suite, recognizer=load_recognizer("arcface"))
    return embedding_on(request.reference_face, suite)[None]


def control_images(control: str, pixels: Tensor) -> ControlImages:
    """Return what gives the control images of a clip's frames.

    Args:
        control: `canny`, or the path of a video that holds them.
        pixels: (T, 3, S, S) uint8: the clip's crops, or those of that video.
    """
    from keyface.diffusion.additions.control import canny_edges

    if control == CANNY:
        return lambda frames: canny_edges(pixels[list(frames)])
    return lambda frames: pixels[list(frames)].float() / 255
