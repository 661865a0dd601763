"""A process' own peak memory, from Linux's account of it."""

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def reset_peak() -> bool:
    """Start counting the peak anew; False where the system cannot, which leaves the whole life's peak."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """Return the largest resident memory in bytes since `reset_peak`, with mapped pages of files.

    The high-water mark of this process' own memory map (VmHWM), since `getrusage` also counts what the
    parent held when it started the process.
    """
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
