"""OpenCV, where its absence or a library that it lacks is said with what mends it."""

import importlib
from typing import Any

MEND = (
    "pip uninstall -y opencv-python opencv-contrib-python opencv-python-headless && "
    "pip install opencv-python-headless"
)
"""All builds of OpenCV fill one folder, so that removing one alone leaves holes in another."""


def load_opencv(what: str) -> Any:
    """Import `cv2`.

    Args:
        what: What needs it, for the message.

    Raises:
        ImportError: It is not installed, or it is the build for screens on a machine without libGL.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cv2":
            raise ImportError(f"{what} needs OpenCV: pip install opencv-python-headless") from error
        raise ImportError(
            f"{what} needs OpenCV, which does not load here ({error}): opencv-python stands over the "
            f"headless build; mend it by: {MEND}"
        ) from error
