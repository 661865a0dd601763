"""Who judges in an evaluation."""

from pathlib import Path

from keyface.metrics.flow import flow_estimator
from keyface.models.judges import Judges


def choose_judges(place: str | None, raft: Path | None) -> tuple[Judges, list[str]]:
    """Return the judges, and what a reader must know about them.

    Args:
        place: "package.module:function" of the user's judges; None takes the miniature's.
        raft: RAFT's weights; None takes OpenCV's DIS, and no flow where OpenCV is missing.
    """
    judges = Judges.miniature() if place is None else Judges.load(place)
    notes = [judges.remark] if judges.remark else []
    if judges.flow is not None:
        return judges, notes
    try:
        judges = judges.with_flow(flow_estimator(raft))
    except ImportError as error:
        return judges, [*notes, f"No temporal loss where there is no exact flow: {error}."]
    if raft is None:
        notes.append(
            "Estimated flow is OpenCV's DIS, not the paper's RAFT, whose weights --raft FILE would take."
        )
    return judges, notes
