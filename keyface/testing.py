"""What the tests of a plugin call: each function raises AssertionError with a line that says what to mend.

Example:
    >>> from keyface import testing
    >>> from keyface.plugins import edits
    >>> testing.check_phrases(edits["beard"])
    >>> testing.check_captions(edits["beard"])
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from keyface.plugins import Category, Registry, compose
from keyface.plugins import edits as installed

if TYPE_CHECKING:
    from torch import Tensor

CAPTIONS = (
    "a photo of a person",
    "a photo of a young woman, brown hair, smiling",
    "an old man in a suit",
)
"""What captions before an edit may say; the category's `source` is put into each."""

STEPS = 4
"""Denoising steps of `check_edit`: enough to see that an edit runs, too few to judge it."""


@dataclass(frozen=True)
class Outcome:
    """What `check_edit` saw.

    Attributes:
        before: (T, 3, S, S) in [-1, 1].
        after: Likewise.
        inside: Mean absolute change where the edit may change the face, intensities in [0, 1].
    """

    before: Tensor
    after: Tensor
    inside: float


def check_installed(category: Category, registry: Registry = installed) -> None:
    """Check that the category comes from an installed package's entry point, as it is."""
    broken = {
        name: str(plugin) for plugin in registry.broken() for name in (category.name,) if plugin.offers(name)
    }
    _require(not broken, "; ".join(broken.values()))
    _require(category.name in registry, f"edit {category.name!r} is not installed; pip install its package")
    _require(
        registry[category.name] == category,
        f"edit {category.name!r} that is installed differs from this one; install the package again",
    )


def check_phrases(category: Category, tokenizer: Any = None) -> None:
    """Check that a text encoder can be told every phrase, within a caption and without unknown words.

    Args:
        category: Whose targets, source and negative phrase.
        tokenizer: transformers' tokenizer of a model; None takes that of CLIP, which Stable Diffusion's text
            encoders share: it is made of pieces of words, of which no word is unknown.
    """
    phrases = [*category.targets, category.source, *([category.negative] if category.negative else [])]
    for phrase in phrases:
        texts = [f"{caption}, {phrase}" for caption in CAPTIONS]
        if tokenizer is None:
            _check_clip(texts, phrase)
            continue
        from keyface.diffusion.words import unknown_words

        unknown = unknown_words(phrase, tokenizer)
        _require(not unknown, f"phrase {phrase!r}: the text encoder does not know {', '.join(unknown)}")
        for text in texts:
            tokens = len(tokenizer(text, truncation=False, verbose=False).input_ids)
            most = tokenizer.model_max_length
            _require(tokens <= most, f"phrase {phrase!r} is too long: {text!r} has {tokens} tokens of {most}")


def _check_clip(texts: Collection[str], phrase: str) -> None:
    import open_clip

    tokenizer: Any = open_clip.get_tokenizer("ViT-B-16")
    most = int(tokenizer.context_length) - 2  # start and end take one each
    for text in texts:
        tokens = tokenizer.encode(text)
        said = " ".join(tokenizer.decode(tokens).split())
        _require(
            said.replace(" ", "") == text.lower().replace(" ", ""),
            f"phrase {phrase!r}: the tokenizer reads it as {said!r}; write it in plain words",
        )
        _require(
            len(tokens) <= most, f"phrase {phrase!r} is too long: {text!r} has {len(tokens)} tokens of {most}"
        )


def check_captions(category: Category) -> None:
    """Check that captions round-trip: each target is written, is not written twice, and gives way again.

    The source phrase is put into a caption, the target takes its place, and the way back gives the caption.
    """
    for target in category.targets:
        edit = replace(category, targets=(target,), weights=())
        others = tuple(phrase for phrase in category.replaces if phrase != category.source)
        back = replace(
            category,
            targets=(category.source,),
            source=target,
            replaces=(*category.targets, *others),
            weights=(),
        )
        for caption in CAPTIONS:
            before = compose(caption, [back]).target
            after = compose(before, [edit]).target
            _require(
                after != before,
                f"target {target!r} changes nothing in {before!r}; is it in `replaces` of the source?",
            )
            again = compose(after, [edit]).target
            _require(again == after, f"target {target!r} is written twice: {after!r} becomes {again!r}")
            returned = compose(after, [back]).target
            _require(
                returned == before,
                f"target {target!r} does not give way to source {category.source!r}: {before!r} becomes "
                f"{after!r} and then {returned!r}; list in `replaces` what they contradict",
            )


def check_regions(category: Category) -> None:
    """Check that the regions exist, and that rendered faces have some of them where the edit may change."""
    from keyface.celeba import REGIONS

    unknown = [name for name in category.regions if name not in REGIONS]
    _require(not unknown, f"regions {unknown} are none of CelebAMask-HQ's: {', '.join(REGIONS)}")
    if not category.regions and category.mask is None:
        return
    from keyface.authoring.faces import rendered_faces

    for face in rendered_faces(category, 2, 1, 64, seed=0):
        _require(
            face.free is not None and bool((face.free > 0.5).any()),
            f"edit {category.name!r} may change nothing in a rendered face; see its regions or its mask",
        )


def check_code(category: Category) -> None:
    """Check that mask, judge and loss, as far as there are any, give what they must for rendered faces."""
    import torch

    from keyface.authoring.faces import rendered_faces
    from keyface.lightning_modules.direction import category_loss
    from keyface.lightning_modules.objectives.targets import Edit
    from keyface.models.judges import successes

    faces = rendered_faces(category, 2, 1, 64, seed=0)  # their masks are made here
    images = torch.cat([face.frames for face in faces])
    try:
        successes(None, images, [category])
        if category.loss is not None:
            pair = compose("", [category])
            chosen = [Edit(row, category, pair, pair) for row in range(len(images))]
            edited = (0.9 * images).requires_grad_()
            term = category_loss(edited, images, chosen)
            if term.requires_grad:
                term.backward()  # type: ignore[no-untyped-call]
            _require(
                edited.grad is not None and bool(edited.grad.isfinite().all()),
                f"edit {category.name!r}: its loss gives no finite gradient",
            )
    except ValueError as error:
        raise AssertionError(str(error)) from error


def check_conflicts(category: Category, registry: Registry = installed) -> None:
    """Check that conflicts exist, are refused in either order, and are mutual within one package."""
    from keyface.plugins.examination import conflict_faults

    _require(category.name in registry, f"edit {category.name!r} is not installed; pip install its package")
    origin = registry.origin(category.name)
    faults = conflict_faults(registry, [name for name in registry.names() if registry.origin(name) == origin])
    mine = [fault for fault in faults if fault.startswith(repr(category.name))]
    _require(not mine, "; ".join(mine))
    for other in category.conflicts:
        for pair in ((category.name, other), (other, category.name)):
            try:
                registry.select(pair)
            except ValueError:
                continue
            raise AssertionError(f"edits {pair[0]!r} and {pair[1]!r} conflict, and are not refused together")


def check_edit(category: Category, frames: int = 2, seed: int = 0) -> Outcome:
    """Edit a rendered face with the miniature, and check that nothing changes but where the edit may.

    The regions are the renderer's own, grown by the margin and the soft edge of the composition.

    Args:
        category: What is edited.
        frames: T.
        seed: Of the face.

    Returns:
        What was seen; `inside` is 0 where the miniature makes nothing of the words.
    """
    import torch

    from keyface.authoring.faces import edit_face, rendered_faces
    from keyface.editing.composition import REACH, grow
    from keyface.pipeline.pipeline import FaceEditPipeline

    pipe = FaceEditPipeline.from_pretrained()
    (face,) = rendered_faces(category, 1, frames, pipe.backbone.image_size, seed)
    settings = pipe.settings_for([category]).with_values({"steps": STEPS, "interval": 1})
    after = edit_face(pipe, face, settings)
    _require(bool(after.isfinite().all()), f"edit {category.name!r} gives numbers that are not finite")
    if face.free is None:
        free = torch.ones_like(after[:, :1])
    else:
        side, composition = after.shape[-1], settings.composition
        reach = round(composition.margin * side) + round(REACH * composition.feather * side + 1)
        free = torch.stack([grow(mask, reach) for mask in face.free.amax(dim=0, keepdim=True)]).expand(
            frames, -1, -1, -1
        )
    outside = (after != face.frames) & (free == 0)
    _require(
        not outside.any(),
        f"edit {category.name!r} changes {int(outside.any(dim=1).sum())} pixels outside its regions",
    )
    change = (after - face.frames).abs() * (free > 0)
    return Outcome(face.frames, after, float(change.sum() / (3 * (free > 0).sum()).clamp(min=1)) / 2)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
