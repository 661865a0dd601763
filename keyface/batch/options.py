"""What can be asked for a clip among many: the options of `keyface edit` that are a clip's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from keyface.configuration import given
from keyface.editing.settings import EditSettings, given_settings
from keyface.pipeline.request.framing import Framing
from keyface.pipeline.request.request import VideoRequest
from keyface.video.encoding import Encoding

SHORT = ("steps", "guidance", "strength", "seed", "compose")
"""Options that are short for settings."""


@dataclass(frozen=True)
class ClipOptions:
    """Options of one clip; each means what it means to `keyface edit`, and so does leaving it out.

    `compare` and `mask_video` are names in the folder of the outputs.
    """

    edits: str | list[str] | None = None
    prompt: str | None = None
    source: str | None = None
    negative: str | None = None
    person: str | int | None = None
    finder: Literal["insightface", "human", "face-api", "miniature"] | None = None
    crop: str | None = None
    doubtful: Literal["edit", "leave"] = "edit"
    start: str | float | None = None
    end: str | float | None = None
    max_seconds: float | None = None
    on_corrupt: Literal["error", "hold"] = "error"
    no_watermark: str | None = None
    compare: str | None = None
    mask_video: str | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    seed: int | None = None
    compose: Literal["off", "mask", "detail"] | None = None
    settings: EditSettings = field(default_factory=EditSettings)
    framing: Framing = field(default_factory=Framing)
    encoding: Encoding = field(default_factory=Encoding)


def checked_options(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return options by name, nested and in their types, without those that were not given.

    Args:
        values: By name; parts of settings by dotted names or nested.
        where: The place that they come from, with which messages begin.

    Raises:
        ValueError: A name is unknown, or a value does not fit.
    """
    found = given(ClipOptions, values, where)
    return {name: value for name, value in found.items() if value is not None}


def combined(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a clip's own checked options over those that all clips have; mappings are joined.

    A prompt of one's own takes the place of common edits, and the other way round; so does a setting that is
    given by its short name and in full.
    """
    base = dict(common)
    for one, other in (("prompt", "edits"), ("edits", "prompt")):
        if one in own:
            base.pop(other, None)
    long = {"guidance": "guidance_scale"}
    settings = dict(base.get("settings", {}))
    for name in SHORT:
        full = long.get(name, name)
        if full in own.get("settings", {}):
            base.pop(name, None)
        if name in own:
            settings.pop(full, None)
    if "compose" in own:
        settings["composition"] = {
            name: value for name, value in settings.get("composition", {}).items() if name != "mode"
        }
    if "mode" in own.get("settings", {}).get("composition", {}):
        base.pop("compose", None)
    if settings:
        base["settings"] = settings
    return _joined(base, own)


def clip_request(
    video: Path, output: Path, options: Mapping[str, Any], folder: Path, **more: Any
) -> VideoRequest:
    """Return the request for one clip.

    Args:
        video: The clip.
        output: The file to write.
        options: Checked ones.
        folder: Of the outputs.
        more: Other arguments of the request, such as `overwrite`.

    Raises:
        ValueError: As of `VideoRequest`.
        FileNotFoundError: Likewise.
        LookupError: There is no such category.
    """
    values = dict(options)
    settings = given_settings(
        values.pop("settings", {}), **{name: values.pop(name) for name in SHORT if name in values}
    )
    edits = values.pop("edits", ())
    for name in ("compare", "mask_video"):
        if name in values:
            values[name] = folder / values[name]
    if "person" in values:
        values["person"] = str(values["person"])
    return VideoRequest(
        video,
        output,
        edits=",".join(edits) if isinstance(edits, list) else edits,
        settings=settings,
        framing=Framing(**values.pop("framing", {})),
        encoding=Encoding(**values.pop("encoding", {})),
        **values,
        **more,
    )


def _joined(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for name, value in over.items():
        before = found.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            found[name] = _joined(before, value)
        else:
            found[name] = value
    return found
