"""Folders of fine-tuned branches, as users name them: an export, a run, or an experiment with its runs."""

from pathlib import Path

EXPORT = "export"


def branch_folder(place: Path) -> Path:
    """Return the folder of a fine-tuned U-Net, or of its LoRA weights.

    Args:
        place: That folder; a run's folder, which has `export` in it; or an experiment's folder, of whose runs
            the newest with an export is taken. Runs' names begin with the time of their start.

    Raises:
        FileNotFoundError: There is no such folder, or no export in it.
    """
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: no such folder; give that of an export, a run or an experiment")
    for folder in (place, place / EXPORT):
        if _is_unet(folder):
            return folder
    # `latest` is a link to a run, which need not have an export yet.
    exports = [run / EXPORT for run in place.iterdir() if not run.is_symlink() and _is_unet(run / EXPORT)]
    if exports:
        return max(exports, key=lambda export: export.parent.name)
    raise FileNotFoundError(
        f"{place}: no fine-tuned branch: no U-Net, no LoRA weights, and no `{EXPORT}` or run with one in it; "
        "a fit writes it when it ends, see `keyface export`"
    )


def _is_unet(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("adapter_config.json", "config.json"))
