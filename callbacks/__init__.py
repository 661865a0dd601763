"""Lightning callbacks: validation videos and the dashboard."""

from typing import TYPE_CHECKING

from keyface.lazy import lazily

if TYPE_CHECKING:
    from keyface.callbacks.video_edit import VideoEditCallback

__all__ = ["VideoEditCallback"]

__getattr__ = lazily(__name__, {"VideoEditCallback": "keyface.callbacks.video_edit"})
