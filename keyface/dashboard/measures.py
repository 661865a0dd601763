"""Which curves a dashboard shows, in which order, and what they are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keyface.dashboard import charts
from keyface.dashboard.charts import Chart, Series, line_chart, number
from keyface.dashboard.runs import Curve, Run

SUCCESS, SIMILARITY, DISTANCE = "edit/edit_success", "edit/direction_similarity", "edit/identity_distance"

BY_TIMESTEP = "train/loss_by_timestep/"

EDITS, ALL = "Edits at validation", "all"


@dataclass(frozen=True)
class Measure:
    """A curve with a name.

    Attributes:
        key: As loggers know it.
        title: For people.
        note: What it means.
        higher: Whether higher is better; None where neither is.
    """

    key: str
    title: str
    note: str
    higher: bool | None


MEASURES = (
    Measure(SUCCESS, "Edit success", "share of frames that look as asked", True),
    Measure(DISTANCE, "Identity distance", "of the edited face to the person, 0 to 2", False),
    Measure("edit/outside_change", "Change outside", "mean change outside the edit's regions", False),
    Measure("edit/temporal_loss", "Temporal loss", "flicker along the flow", False),
    Measure(SIMILARITY, "CLIP direction", "does CLIP see the change that was asked for", True),
    Measure("edit/reconstruction_psnr", "Reconstruction", "of the inversion, in dB", True),
    Measure("val/loss", "Validation loss", "on held-out pictures", False),
    Measure("train/loss", "Training loss", "as it is minimized", False),
    Measure("optim/gradient_norm", "Gradient norm", "before clipping", None),
    Measure("optim/learning_rate", "Learning rate", "that the step is taken with", None),
    Measure("speed/images_per_second", "Images a second", "of all processes", None),
    Measure("speed/peak_memory_gib", "Peak memory", "in GiB, of the GPU or else of the process", None),
)
"""Those that have a title of their own, the most important first."""

_TITLES = {measure.key: measure for measure in MEASURES}


def value_at(curve: Curve | None) -> str:
    """Return the newest value of a curve as text; nothing where there is none."""
    return number(curve[-1][1]) if curve else ""


def trade_off(runs: Sequence[Run]) -> Chart | None:
    """Return edit success against identity distance, a path for each run; None where neither was measured.

    Where nobody could tell success, CLIP's direction similarity stands in its place.
    """
    key = next((key for key in (SUCCESS, SIMILARITY) if any(run.curves.get(key) for run in runs)), None)
    having = [
        (place, run) for place, run in enumerate(runs) if run.curves.get(key or "") and DISTANCE in run.curves
    ]
    if key is None or not having:
        return None
    return charts.trade_off(
        f"{_TITLES[key].title} against identity distance",
        "up and to the left is better; from the first validation to the newest, the large dot",
        [(run.name, place, run.curves[DISTANCE], run.curves[key]) for place, run in having],
        "identity distance",
    )


def sections(runs: Sequence[Run]) -> list[tuple[str, list[Chart]]]:
    """Return the charts of all curves under headings; of one run those that belong together share a chart."""
    keys = list(dict.fromkeys(key for run in runs for key in run.curves))
    found: dict[str, list[Chart | None]] = {}
    for heading, title, note, chosen in _grouped(keys, runs):
        if len(runs) == 1:
            series = [Series(name, place, runs[0].curves[key]) for place, (key, name) in enumerate(chosen)]
            found.setdefault(heading, []).append(line_chart(title, note, series))
            continue
        for key, name in chosen:
            series = [Series(run.name, place, run.curves.get(key, ())) for place, run in enumerate(runs)]
            whole = name in (title, ALL)
            place = heading if whole or heading != EDITS else f"{EDITS}, one by one"
            found.setdefault(place, []).append(
                line_chart(title if whole else f"{title}: {name}", note, series)
            )
    drawn = {heading: [chart for chart in each if chart is not None] for heading, each in found.items()}
    return [(heading, each) for heading, each in drawn.items() if each]


def _grouped(
    keys: Sequence[str], runs: Sequence[Run]
) -> Iterator[tuple[str, str, str, list[tuple[str, str]]]]:
    """Yield heading, title, note, and keys with the names of their lines, for each chart of one run."""
    categories = {name for run in runs for name in run.categories}
    left = dict.fromkeys(keys)
    for measure in MEASURES:
        if measure.key.startswith("edit/") and measure.key in left:
            inner = [key for key in left if key.startswith(f"{measure.key}/")]
            by_category = [key for key in inner if key.rpartition("/")[2] in categories]
            judged = [key for key in inner if key not in by_category]
            for key in (measure.key, *inner):
                del left[key]
            lines = [(key, key.rpartition("/")[2]) for key in by_category] if len(by_category) > 1 else []
            yield EDITS, measure.title, measure.note, [(measure.key, ALL), *lines]
            if len(judged) > 1:
                named = [(key, key.rpartition("/")[2]) for key in judged]
                yield EDITS, f"{measure.title} by judge", measure.note, named
    timesteps = sorted(key for key in left if key.startswith(BY_TIMESTEP))
    for heading, start in (("Validation", "val/"), ("Training", "train/")):
        for key in sorted(left, key=lambda key: (not key.endswith("/loss"), key)):
            if key.startswith(start) and key not in timesteps:
                yield heading, *_single(key)
                del left[key]
    if timesteps:
        bins = [(key, key.removeprefix(BY_TIMESTEP)) for key in timesteps]
        yield "Training", "Loss by noise level", "mean at these timesteps since the last validation", bins
        for key in timesteps:
            del left[key]
    for key in left:
        yield ("Optimizer and machine" if key.startswith(("optim/", "speed/")) else "More"), *_single(key)


def _single(key: str) -> tuple[str, str, list[tuple[str, str]]]:
    measure = _TITLES.get(key)
    group, _, name = key.partition("/")
    said = name.replace("_", " ").replace("/", ", ") or group
    title = measure.title if measure else said[:1].upper() + said[1:]
    return title, measure.note if measure else key, [(key, title)]
