"""keyface: edit faces in video by text while the person stays the same person."""

from typing import TYPE_CHECKING

from keyface.lazy import lazily

if TYPE_CHECKING:
    from keyface.editing.settings import EditSettings, Prompts
    from keyface.pipeline.pipeline import FaceEditPipeline, edit

__all__ = ["EditSettings", "FaceEditPipeline", "Prompts", "__version__", "edit"]

__version__ = "0.2.0"

_HOMES = {
    "EditSettings": "keyface.editing.settings",
    "FaceEditPipeline": "keyface.pipeline.pipeline",
    "Prompts": "keyface.editing.settings",
    "edit": "keyface.pipeline.pipeline",
}

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
