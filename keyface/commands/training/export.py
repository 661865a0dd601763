"""`keyface export`: a fine-tuned branch as diffusers itself reads it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal


def export(
    branch: Path,
    output: Path,
    form: Literal["pipeline", "unet", "lora"] = "pipeline",
    weights: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a fine-tuned branch for diffusers, with a model card.

    Forms: "pipeline" is a whole model folder (StableDiffusionPipeline.from_pretrained), "unet" the U-Net
    alone (UNet2DConditionModel.from_pretrained), "lora" one safetensors file of the adapters
    (load_lora_weights). Adapters are merged into the base for the first two.

    Args:
        branch: An export's folder (a whole U-Net or adapters), a run's, an experiment's, of which the newest
            run with an export is taken, or a checkpoint.
        output: Folder to write.
        form: What to write.
        weights: The base that the branch was tuned from: a folder, a safetensors file, OWNER/NAME on the
            model hub, or "miniature". Taken from the branch's card if not given.
        overwrite: Replace the folder if it exists.

    Raises:
        FileNotFoundError: There is no branch or no base.
        ValueError: The form does not fit the branch or the base, or the output exists.
    """
    if output.exists() and not overwrite:
        raise ValueError(f"{output}: exists; give another name, or --overwrite to replace it")
    if output.resolve() in (branch.resolve(), *branch.resolve().parents, branch.resolve() / "export"):
        raise ValueError(f"{output}: holds the branch itself; give another folder")

    from keyface.export.branch import Branch, write_form
    from keyface.export.checkpoint import write_branch

    with tempfile.TemporaryDirectory() as unpacked, whole_folder(output) as folder:
        if branch.is_file():
            write_branch(branch, weights, Path(unpacked))
        found = Branch.read(Path(unpacked) if branch.is_file() else branch)
        write_form(found, form, weights or found.base, folder)
    print(f"{output}: {found.title} as {form}; see README.md in it")


@contextmanager
def whole_folder(output: Path) -> Iterator[Path]:
    """Yield a folder that becomes `output` when the block ends without an error, and goes otherwise."""
    output.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}-"))
    try:
        yield staged
        for file in filter(Path.is_file, staged.rglob("*")):
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        staged.chmod(0o755)  # what mkdtemp makes is for its owner alone
        if output.is_dir():
            shutil.rmtree(output)
        staged.replace(output)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
