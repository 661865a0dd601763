"""Times that users give, exact: .4 s at 25 frames per second are 10 frames, not 11."""

import re
from fractions import Fraction

_PART = r"\d{1,9}"
_TIME = re.compile(rf"(?:(?:({_PART}):)?({_PART}):)?(\d{{0,9}}(?:\.\d{{1,9}})?)")


def parse_time(given: str | float, option: str) -> Fraction:
    """Read seconds, "minutes:seconds" or "hours:minutes:seconds".

    Args:
        given: A number, or text such as "62.5" or "1:02.5".
        option: Where it comes from, for messages.

    Raises:
        ValueError: It is something else.

    Example:
        >>> parse_time("1:02.5", "--start")
        Fraction(125, 2)
    """
    text = str(given).strip()
    found = _TIME.fullmatch(text)
    if found is None or found[3] in ("", "."):
        raise ValueError(f"{option} {text}: give seconds, or minutes:seconds, such as 62.5 or 1:02.5")
    hours, minutes, seconds = found.groups()
    if (minutes is not None and float(seconds) >= 60) or (hours is not None and int(minutes) >= 60):
        raise ValueError(f"{option} {text}: minutes and seconds after a colon are below 60")
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + Fraction(f"0{seconds}")
