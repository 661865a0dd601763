"""One try at the model hub, with one error for everything that can go wrong."""

from pathlib import Path
from typing import Any

_SECONDS = 20


class HubError(OSError):
    """The model hub did not give what was asked for.

    Attributes:
        reachable: Whether it answered at all.
    """

    def __init__(self, message: str, reachable: bool) -> None:
        super().__init__(message)
        self.reachable = reachable


def fetch_snapshot(repository: str, revision: str, patterns: list[str], folder: Path | None = None) -> Path:
    """Fetch files of a repository on the model hub.

    Args:
        repository: `OWNER/NAME`.
        revision: Commit, branch or tag; empty is the newest.
        patterns: Which files.
        folder: Where they go; None is the hub's own cache on this machine, which is looked into first.

    Returns:
        The folder that holds them.

    Raises:
        HubError: The hub cannot be reached, or does not have them.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    # The hub's client changed its HTTP library three times; the base of its own error is that library's base.
    transport: Any = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    wanted: dict[str, Any] = {"repo_id": repository, "revision": revision or None, "allow_patterns": patterns}
    if folder is None:
        try:
            return Path(snapshot_download(**wanted, local_files_only=True))
        except LocalEntryNotFoundError:
            pass
    try:
        # One short request first: the client itself would go on trying for minutes without a network.
        HfApi().model_info(repository, revision=revision or None, timeout=_SECONDS)
        return Path(snapshot_download(**wanted, local_dir=folder))
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, transport) as error:
        answered = _has_answer(error)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        told = f"the model hub gives no {repository}" if answered else "the model hub cannot be reached"
        raise HubError(f"{told}: {reason}", answered) from error


def _has_answer(error: BaseException | None) -> bool:
    """Say whether an error, or one that it came from, is about an answer instead of none."""
    while error is not None:
        if getattr(error, "response", None) is not None:
            return True
        error = error.__cause__
    return False
