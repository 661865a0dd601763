"""One try at the model hub, with one error for everything that can go wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
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


def cached_snapshot(repository: str, revision: str, file: str) -> Path | None:
    """Return the folder of this machine's copy of a repository, which may lack other files than `file`.

    Args:
        repository: `OWNER/NAME`.
        revision: As of `fetch_snapshot`.
        file: The name of one of its files.

    Returns:
        The folder; None where there is no copy with that file.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file, revision=revision or None)
    return Path(found).parents[file.count("/")] if isinstance(found, str) else None


def list_files(repository: str, revision: str) -> list[str]:
    """Return the names of a repository's files, by one short request.

    Raises:
        HubError: The hub cannot be reached, or does not have the repository.
    """
    from huggingface_hub import HfApi

    with _one_error(repository):
        info = HfApi().model_info(repository, revision=revision or None, timeout=_SECONDS)
        return [file.rfilename for file in info.siblings or ()]


def fetch_snapshot(repository: str, revision: str, patterns: list[str], folder: Path | None = None) -> Path:
    """Fetch those files of a repository on the model hub that are not here.

    Args:
        repository: `OWNER/NAME`.
        revision: Commit, branch or tag; empty is the newest.
        patterns: Which files.
        folder: Where they go; None is the hub's own cache on this machine.

    Returns:
        The folder that holds them.

    Raises:
        HubError: The hub cannot be reached, or does not have them.
    """
    from huggingface_hub import snapshot_download

    # One short request first: the client itself would go on trying for minutes without a network.
    list_files(repository, revision)
    with _one_error(repository):
        return Path(
            snapshot_download(
                repository, revision=revision or None, allow_patterns=patterns, local_dir=folder
            )
        )


@contextmanager
def _one_error(repository: str) -> Iterator[None]:
    """Raise everything that can go wrong with the hub as HubError."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    # The hub's client changed its HTTP library three times; the base of its own error is that library's base.
    transport: Any = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    try:
        yield
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
