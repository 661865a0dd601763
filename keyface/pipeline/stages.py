"""Stages of an edit, and about how much of its time each takes. Imports nothing heavy."""

from keyface import progress

SHARES = {"find": 0.1, "encode": 0.05, "invert": 0.3, "reconstruct": 0.1, "edit": 0.4, "decode": 0.05}
"""Stage of an edit → about which part of its time it takes, for progress bars."""

EACH_CLIP = ("encode", "invert", "reconstruct", "edit")
"""Stages that every clip of a video goes through in turn."""


def share_of(stage: str, done: int, total: int) -> float:
    """Return how much of an edit is done, in [0, 1].

    Args:
        stage: As progress is told; "2/5 invert" is that stage of the second of five clips. One that is not
            known has no share.
        done: Units of the stage that are done.
        total: All its units.
    """
    return progress.share_of(stage, done / total if total else 1.0, SHARES, EACH_CLIP)
