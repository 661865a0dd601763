"""Time and memory against the length of the clip."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from keyface.files import write_bytes

_PANELS = (("seconds_wall", "seconds, wall"), ("peak_mb", "peak memory, MB"), ("disk_mb", "scratch disk, MB"))
_GPU = ("peak_gpu_mb", "peak GPU memory, MB")


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw one line a mode through its lengths, one panel a quantity, as PNG.

    Args:
        rows: Of the benchmark's table.
        path: The file, written whole or not at all.
    """
    panels = [*_PANELS, *([_GPU] if any(row["peak_gpu_mb"] is not None for row in rows) else [])]
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for mode in modes:
            points = sorted((row["frames"], row[key]) for row in rows if row["mode"] == mode)
            axes.plot([x for x, _ in points], [y for _, y in points], "o-", label=mode)
        axes.set_xlabel("frames")
        axes.set_title(title)
        axes.set_ylim(0.0, 1.1 * max(row[key] for row in rows) or 1.0)
        axes.grid(linewidth=0.3)
    figure.axes[0].legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    write_bytes(path, image.getvalue())
