"""insightface's own detector and attribute networks, from a pack of ONNX files that the user brings.

The package `insightface` runs them (SCRFD, MIT code; the packs are for non-commercial research). It would
fetch packs by itself, ignore networks that it does not know, and leave a GPU unused without a word: none of
that happens here.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keyface.faces.arcface.onnx_graph import read_onnx
from keyface.faces.arcface.recognizer import ArcFace
from keyface.faces.face import Face, Looks
from keyface.opencv import load_opencv
from keyface.pictures import to_uint8

HOME = Path("~/.insightface/models")
"""Where the package itself keeps packs, a folder each."""

PROVIDERS = {"cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}
"""What onnxruntime calls a device."""

_CPU = "CPUExecutionProvider"
_EXTRA = "`pip install keyface[insightface]`"


class InsightFace:
    """Finds faces with five landmarks, and guesses age and sex where the pack has the network for it.

    Args:
        analysis: insightface's `FaceAnalysis`, prepared.
        recognizer: The pack's recognition network.

    Example:
        >>> faces = InsightFace.load("~/.insightface/models/buffalo_l")  # doctest: +SKIP
        >>> found = faces.find(images)[0][0]  # doctest: +SKIP
        >>> faces.recognizer(images, found.landmarks[None]).shape  # doctest: +SKIP
        torch.Size([1, 512])
    """

    knows = "real faces"

    def __init__(self, analysis: Any, recognizer: ArcFace) -> None:
        self.analysis = analysis
        self.recognizer = recognizer

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: torch.device | str = "cpu",
        *,
        strict: bool = False,
        threshold: float = 0.5,
    ) -> Self:
        """Read a pack, such as buffalo_l or antelopev2.

        Args:
            folder: Holds the pack's ONNX files.
            device: Where onnxruntime runs its networks; the recognizer is torch's and stays on the CPU.
            strict: Refuse, instead of warn, where onnxruntime does not use that device.
            threshold: Least score of a face.

        Raises:
            FileNotFoundError: The folder is not there, or holds no ONNX file.
            ImportError: insightface, onnxruntime or OpenCV is missing or does not load.
            ValueError: A network is missing or damaged, or `strict` and the device is not used.
        """
        folder, kind = Path(folder).expanduser(), torch.device(device).type
        files = sorted(folder.glob("*.onnx"))
        if not files:
            raise FileNotFoundError(
                f"{folder}: no pack of insightface, there is no .onnx file; run "
                "`keyface weights get insightface`"
            )
        recognition = _recognition_file(files)
        analysis = _analysis(folder, [name for name in (PROVIDERS.get(kind), _CPU) if name])
        detector = analysis.det_model
        if not detector.use_kps:
            raise ValueError(f"{folder}: its detector gives no landmarks; take a pack such as buffalo_l")
        used = {name: model.session.get_providers()[0] for name, model in analysis.models.items()}
        if kind in PROVIDERS and _CPU in used.values():
            told = f"insightface was asked to run on {kind}, and onnxruntime runs on the CPU only: "
            told += "pip uninstall onnxruntime, pip install onnxruntime-gpu, with the CUDA that it names"
            if strict:
                raise ValueError(told)
            warnings.warn(told, stacklevel=2)
        analysis.prepare(ctx_id=0, det_thresh=threshold)
        return cls(analysis, ArcFace.from_file(recognition))

    @torch.no_grad()
    def find(self, images: Tensor) -> list[list[Face]]:
        """Find faces by SCRFD, see `keyface.faces.face.FaceFinder`."""
        return [self._find(picture, images.device) for picture in _pictures(images)]

    def _find(self, picture: NDArray[np.uint8], device: torch.device) -> list[Face]:
        with _quiet():
            boxes, landmarks = self.analysis.det_model.detect(picture)
        order = np.argsort(-boxes[:, 4], kind="stable")
        return [
            Face(
                torch.from_numpy(boxes[index, :4].copy()).to(device),
                float(boxes[index, 4]),
                torch.from_numpy(landmarks[index].copy()).to(device),
            )
            for index in order
        ]

    @torch.no_grad()
    def look(self, images: Tensor, faces: list[Face]) -> list[Looks]:
        """Guess age and sex, which the network calls one or the other without a probability.

        See `keyface.faces.face.FaceDescriber`.
        """
        network = self.analysis.models.get("genderage")
        if network is None:
            return [Looks() for _ in faces]
        return [self._look(network, *each) for each in zip(_pictures(images), faces, strict=True)]

    def _look(self, network: Any, picture: NDArray[np.uint8], face: Face) -> Looks:
        from insightface.app.common import Face as PackageFace

        with _quiet():
            gender, age = network.get(picture, PackageFace(bbox=face.box.cpu().numpy()))
        return Looks(age=float(age), male=float(gender))


def _analysis(folder: Path, providers: list[str]) -> Any:
    load_opencv("insightface")
    try:
        with _quiet():
            from insightface.app import FaceAnalysis
    except ImportError as error:
        raise ImportError(f"{folder}: reading insightface's packs needs {_EXTRA}: {error}") from error
    import onnxruntime

    present = [name for name in providers if name in onnxruntime.get_available_providers()]
    try:
        # A folder that is there is read as it is; only unknown names would be fetched.
        with _quiet():
            return FaceAnalysis(str(folder), allowed_modules=["detection", "genderage"], providers=present)
    except (AssertionError, KeyError) as error:
        names = ", ".join(path.name for path in sorted(folder.glob("*.onnx")))
        raise ValueError(f"{folder}: insightface knows no face detector among {names}") from error
    except Exception as error:  # onnxruntime's errors have no common class
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder}: insightface cannot read this pack: {reason:.200}") from error


def _recognition_file(files: list[Path]) -> Path:
    """Return the file that takes aligned faces of 112 pixels and gives one embedding."""
    for path in files:
        graph = read_onnx(path).graph
        weights = {each.name for each in graph.initializer}
        sizes = [
            [side.dim_value for side in each.type.tensor_type.shape.dim][2:]
            for each in graph.input
            if each.name not in weights
        ]
        if sizes == [[112, 112]] and len(graph.output) == 1:
            return path
    raise ValueError(
        f"{files[0].parent}: no recognition network for faces of 112 pixels, such as w600k_r50.onnx"
    )


def _pictures(images: Tensor) -> Iterator[NDArray[np.uint8]]:
    """Yield images (B, 3, H, W) in [-1, 1] as OpenCV has them: (H, W, 3) blue, green, red."""
    for image in images:
        yield np.ascontiguousarray(to_uint8(image).permute(1, 2, 0).flip(-1).cpu().numpy())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the package's deprecated calls from warning users who cannot change them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
