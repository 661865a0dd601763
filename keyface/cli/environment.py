"""What is settled before anything heavy is imported: what configs may import, and how loud libraries are."""

import io
import os
import sys

from jsonargparse import set_parsing_settings

from keyface.cli.messages import TRUST_VARIABLE

TRUSTED_IMPORTS = (
    "keyface",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    "lightning.pytorch.accelerators",
    "lightning.pytorch.demos.boring_classes",
    "torch.nn",
    "torch.optim",
    "torchmetrics",
    "diffusers.models",
    "diffusers.schedulers",
)
"""What a `class_path` in a config may name; everything else is refused before it is imported."""


def quiet_libraries() -> None:
    """Keep loading bars and advice of diffusers and transformers from burying our own lines.

    By environment, since importing them here would cost seconds; what the user has set stays.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def replace_closed_streams() -> None:
    """Let what is written to a closed stdout or stderr (`keyface … >&-`) go nowhere.

    Python has None in its place, and the next file that anybody opens would get its number, and what
    libraries print.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))
    # Names of files need not be UTF-8; what cannot be printed is escaped, in the way that JSON reads.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def restrict_imports() -> None:
    """Let configs name classes of trusted packages only, and interpolate across files.

    jsonargparse imports whatever a `class_path` says, so a config from elsewhere could otherwise run any
    code. Packages of one's own are added with the environment variable KEYFACE_TRUST=package,package.
    """
    own = [name.strip() for name in os.environ.get(TRUST_VARIABLE, "").split(",") if name.strip()]
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*TRUSTED_IMPORTS, *own],
        omegaconf_absolute_to_relative_paths=True,
    )
