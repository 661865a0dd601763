"""What a user asks for: which video, what is to change, and where it goes; checked before anything slow."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keyface.editing.settings import given_settings
from keyface.files import require_file_name, require_folder, require_local, sha256
from keyface.marks.identities import Identity, given_identity, own_identity
from keyface.marks.kinds import KINDS, holds_credentials, sidecar_of
from keyface.pipeline.additions import CANNY
from keyface.pipeline.request.casting import EVERYONE, Casting
from keyface.pipeline.request.framing import Framing
from keyface.pipeline.request.marks import require_marks
from keyface.pipeline.request.square import Crop
from keyface.plugins import Category
from keyface.resume.cache import WorkCache
from keyface.resume.session import require_free
from keyface.video import Encoding, open_video, open_writer, parse_time
from keyface.video.formats import is_still, require_container

if TYPE_CHECKING:
    from fractions import Fraction

    from keyface.marks.label import Label
    from keyface.video import VideoReader


@dataclass(frozen=True)
class VideoRequest:
    """Ask for an edit of a video file, or of a still.

    Making one checks everything that needs no networks, and opens the video.

    Attributes:
        video: The video to edit: mp4, mov, mkv, webm or avi; or a still: png, jpg or webp.
        output: The file to write: .mp4, .m4v, .mov, .mkv or .webm; for a still .png, .jpg or .webp. Its
            record
            goes beside it, as .json. None only with `preview`.
        edits: Categories that are applied together: objects, names, or names as "glasses,beard"; for several
            people {1: "glasses", 2: "beard"} or "1: glasses; 2: beard". Either these or `prompt`.
        prompt: What the clip shall show, in words.
        source: What the clip shows now, in words; None leaves that to captioners and to what is seen in
            the face.
        negative: What guidance moves away from; None is the source caption, with what categories add.
        settings: Values of `EditSettings` that differ from the weights' defaults and from what the categories
            ask for.
        person: Whose face is edited: "1" (who is seen most), "2", "largest", "longest", "all", or a photo
            of them.
        finder: Name of what finds faces (`keyface.models.finders`); None takes what comes with the weights,
            else the first that is there.
        crop: A fixed square to edit instead of a face: the square, "x,y,size" in pixels, or "centre".
        framing: How the crop of a face is cut out of the frame.
        doubtful: `edit` or `leave` faces that are small, turned away or cut by the border.
        compare: Where to write a video of original and result side by side.
        mask_video: Where to write a video of what the edit may change: white where the mask is 1.
        preview: Where to write a picture of three keyframes before and after, instead of a video.
        encoding: How the output is encoded.
        label: What a small sign on every frame says; None or "none" draws none.
        no_watermark: Why no watermark is written into the edited pixels, which goes into the record; None
            writes one where it can be found again.
        sign: With whose key the content credentials are signed: KEY.pem:CERTIFICATES.pem, or one file with
            both; None takes a certificate that keyface makes for this user.
        start: Edit only from this time on: seconds, or "minutes:seconds".
        end: Edit only what is shown before this time.
        max_seconds: Edit only so many seconds, instead of `end`.
        control: What a ControlNet looks at: "canny", or a video of control images, frame by frame.
        reference_face: Photo of the person, for an IP-Adapter.
        cache: Folder that keeps what does not depend on the target, for the next edit of the clip.
        devices: How many GPUs, or processes on the CPU, share the edit; what they make depends on it.
        on_corrupt: Stop at damaged frames (`error`), or `hold` the last good one.
        overwrite: Replace existing output files.
        resume: Only go on with an edit that was stopped; without it that is done where there is one.
        restart: Begin anew although an edit of this output was stopped.

    Raises:
        ValueError: The request does not fit together, or the video cannot be used.
        FileNotFoundError: There is no such video.
    """

    video: Path
    output: Path | None = None
    edits: str | Sequence[str | Category] | Mapping[Any, str | Sequence[str | Category]] = ()
    prompt: str | None = None
    source: str | None = None
    negative: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    person: str | None = None
    finder: str | None = None
    crop: Crop | str | None = None
    framing: Framing = field(default_factory=Framing)
    doubtful: Literal["edit", "leave"] = "edit"
    compare: Path | None = None
    mask_video: Path | None = None
    preview: Path | None = None
    encoding: Encoding = field(default_factory=Encoding)
    label: str | None = None
    no_watermark: str | None = None
    sign: str | None = None
    start: str | float | None = None
    end: str | float | None = None
    max_seconds: float | None = None
    control: str | None = None
    reference_face: Path | None = None
    cache: Path | None = None
    devices: int = 1
    on_corrupt: Literal["error", "hold"] = "error"
    overwrite: bool = False
    resume: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        self._check_words()
        self._check_devices()
        given_settings(self.settings)
        self._check_people()
        _ = self.times
        self._check_targets()
        self._check_stopped()
        _ = self.square, self.reader
        self._check_pictures()
        require_marks(self)

    @property
    def record(self) -> Path:
        """Return where the record of the edit goes."""
        return self._output.with_suffix(".json")

    @property
    def state(self) -> Path:
        """Return the folder that keeps what is done until the output is complete."""
        return self._output.with_name(f"{self._output.name}.state")

    @cached_property
    def casting(self) -> Casting:
        """Return who is to be edited, and how."""
        return Casting.of(self.edits, self.person)

    @property
    def categories(self) -> list[Category]:
        """Return all categories that are edited, whoever gets them."""
        return self.casting.categories

    @cached_property
    def reader(self) -> VideoReader:
        """Return the opened video."""
        start, end = self.times
        return open_video(self.video, on_corrupt=self.on_corrupt, start=start, end=end)

    @cached_property
    def square(self) -> Crop | None:
        """Return the fixed square that is edited; None where faces are."""
        if self.crop is None:
            return None
        height, width = self.reader.height, self.reader.width
        if isinstance(self.crop, str):
            return Crop.parse(self.crop, height, width)
        self.crop.require_inside(height, width)
        return self.crop

    @cached_property
    def sha256(self) -> str:
        """Return the hash of the video, which is computed once."""
        return sha256(self.video)

    @cached_property
    def control_reader(self) -> VideoReader | None:
        """Return the opened video of control images; None where there is none."""
        if self.control in (None, CANNY):
            return None
        start, end = self.times
        return open_video(Path(self.control), start=start, end=end)

    @cached_property
    def looked_at(self) -> dict[str, Any]:
        """Return which pictures networks look at beside the video, for records."""
        files = {"control": self.control, "reference_face": self.reference_face}
        return {
            role: given if given == CANNY else {"name": Path(given).name, "sha256": sha256(Path(given))}
            for role, given in files.items()
            if given is not None
        }

    @property
    def _output(self) -> Path:
        assert self.output is not None, "a preview has neither record nor state"
        return self.output

    @cached_property
    def identity(self) -> Identity:
        """Return who signs the outputs."""
        return own_identity() if self.sign is None else given_identity(self.sign)

    @cached_property
    def visible_label(self) -> Label | None:
        """Return the sign that is drawn on every frame of the output; None for none."""
        if self.label is None or self.label.strip().lower() == "none":
            return None
        from keyface.marks.label import Label

        return Label(self.label, self.reader.height, self.reader.width, self.reader.pixel_aspect)

    @cached_property
    def times(self) -> tuple[Fraction | None, Fraction | None]:
        """Return start and end in seconds; None where there is none."""
        start = None if self.start is None else parse_time(self.start, "--start")
        end = None if self.end is None else parse_time(self.end, "--end")
        if self.max_seconds is not None:
            if end is not None:
                raise ValueError("--end and --max-seconds both say where to stop; give one of the two")
            if not (math.isfinite(self.max_seconds) and self.max_seconds > 0):
                raise ValueError(f"--max-seconds is {self.max_seconds:g}; it must be a number above 0")
            end = (start or 0) + parse_time(self.max_seconds, "--max-seconds")
        if end is not None and end <= (start or 0):
            raise ValueError(f"--end {float(end):g} s is not after --start {float(start or 0):g} s")
        return start, end

    def _check_words(self) -> None:
        if self.output is None and self.preview is None:
            raise ValueError("say where the edited video goes, by -o/--output")
        if bool(self.edits) == (self.prompt is not None):
            raise ValueError(
                "say what to change, by either --edits NAME,... or --prompt TEXT, one of the two"
            )
        if self.prompt is not None and not self.prompt.strip():
            raise ValueError("--prompt is empty; say what the clip shall show")
        if self.source is not None and not self.source.strip():
            raise ValueError("--source is empty; say what the clip shows")
        for option in ("prompt", "source", "negative"):
            text = getattr(self, option)
            if text is not None and not _is_text(text):
                name = option.replace("_", "-")
                raise ValueError(f"--{name} {text!r}: holds bytes that are no UTF-8; type it anew")
        _ = self.casting

    def _check_devices(self) -> None:
        if self.devices < 1:
            raise ValueError(f"--devices is {self.devices}; it must be at least 1")
        if self.devices == 1:
            return
        for option, given in (("--preview", self.preview), ("--cache", self.cache)):
            if given is not None:
                raise ValueError(f"--devices and {option} do not go together; leave one out")

    def _check_people(self) -> None:
        if self.crop is not None:
            for option, given in (("--person", self.person), ("--finder", self.finder)):
                if given is not None:
                    raise ValueError(f"--crop edits one fixed square, so {option} has no say; leave one out")
            for name in ("margin", "border"):
                if getattr(self.framing, name) != getattr(Framing(), name):
                    raise ValueError(
                        f"--crop edits one fixed square, so --framing.{name} has no say; leave one out"
                    )
            if self.casting.named:
                raise ValueError("--crop edits one fixed square; --edits names several people, leave one out")
        for photo in self.casting.photos:
            if not Path(photo).is_file():
                raise FileNotFoundError(
                    f"--person {photo}: no such photo; give one, a number, or {', '.join(EVERYONE)}"
                )

    def _check_pictures(self) -> None:
        if self.reference_face is not None and not self.reference_face.is_file():
            raise FileNotFoundError(f"--reference-face {self.reference_face}: no such photo")
        if self.control_reader is None:
            return
        size, wanted = ((len(each), each.width, each.height) for each in (self.control_reader, self.reader))
        if size != wanted:
            raise ValueError(
                f"--control {self.control}: {size[0]} frames of {size[1]} by {size[2]}, the video has "
                f"{wanted[0]} of {wanted[1]} by {wanted[2]}; they must go together, or use --control {CANNY}"
            )

    def _check_targets(self) -> None:
        still = is_still(self.video)
        targets = {}
        if self.preview is not None:
            targets["--preview"] = self.preview
            if self.preview.suffix.lower() != ".png":
                raise ValueError(f"--preview {self.preview}: write to a .png file")
        else:
            require_container(self._output, "-o/--output", still=still)
            targets |= {"-o/--output": self._output, "its record": self.record}
            if self.compare is not None:
                targets["--compare"] = self.compare
            if self.mask_video is not None:
                targets["--mask-video"] = self.mask_video
        for target in targets.values():
            require_local(target)
        written = {
            option: path for option, path in targets.items() if option not in ("its record", "--preview")
        }
        sidecars = {
            f"credentials of {option}": sidecar_of(target)
            for option, target in written.items()
            if target.suffix.lower() in KINDS and not holds_credentials(target)
        }
        targets |= sidecars
        if len({target.resolve() for target in targets.values()}) < len(targets):
            raise ValueError(f"output files must differ: {', '.join(map(str, targets.values()))}")
        for option, target in targets.items():
            if option in written:
                require_container(target, option, still=still)
                if not is_still(target):
                    open_writer(target, like=self.reader, encoding=self.encoding)  # tries its header
            for given in (self.video, sidecar_of(self.video)):
                if target.exists() and given.exists() and target.samefile(given):
                    source = given == self.video
                    what = "is the input, which is" if source else "holds the input's credentials and is"
                    raise ValueError(f"{target}: {what} never overwritten; give another name")
            require_file_name(target)
            # An edit that is killed at its very end has published credentials, and not yet their file.
            left = option in sidecars and self.preview is None and self.state.is_dir()
            if os.path.lexists(target) and not self.overwrite and not left:
                raise ValueError(f"{target}: exists; give another name, or --overwrite to replace it")
        if self.cache is not None:
            WorkCache.of(self.cache)
            require_folder(self.cache)

    def _check_stopped(self) -> None:
        if self.resume and self.restart:
            raise ValueError("--resume goes on and --restart begins anew; give one of the two")
        if self.preview is not None:
            for option, wanted in (("--resume", self.resume), ("--restart", self.restart)):
                if wanted:
                    raise ValueError(
                        f"--preview keeps nothing of an edit, so {option} has no say; leave it out"
                    )
            return
        if self.resume and not self.state.is_dir():
            raise ValueError(
                f"{self.state}: no such folder, so no edit of {self.output} was stopped; leave --resume out"
            )
        require_free(self.state)


def _is_text(words: str) -> bool:
    """Tell whether words can be written as UTF-8: what a terminal gives may hold single bytes."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True
