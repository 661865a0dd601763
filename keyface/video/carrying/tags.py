"""What a file says of itself: titles, artists, places, times; and time codes."""

import re
from collections.abc import Mapping
from fractions import Fraction

_TECHNICAL = re.compile(
    r"major_brand|minor_version|compatible_brands|encoder|duration|handler_name|vendor_id|timecode|rotate"
    r"|bps|number_of_(frames|bytes)|_statistics.*|.*source_id|language|hw|maxrate|te_is_reencode"
)
"""Tags about the file's bytes, which are other ones now, or which are written by other means."""

_APPLE = "com.apple.quicktime."
_APPLE_NAMES = {"location.iso6709": "location", "author": "artist", "creationdate": "date"}

_OLD_LANGUAGES = {
    "deu": "ger", "nld": "dut", "swe": "sve", "zho": "chi", "ell": "gre", "isl": "ice", "fas": "per",
    "sqi": "alb", "fre": "fra", "cze": "ces", "slo": "slk", "rum": "ron", "mkd": "mac",
}  # fmt: skip
"""Languages by ISO 639-2 → what QuickTime calls them."""


def merge_tags(source: Mapping[str, str], stated: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a file that was made from another one.

    The source's are kept; a comment is added before its own comment, so that players which show one line show
    what was added; a title is taken only where the source has none.

    Args:
        source: The source's tags.
        stated: What is to be said of the new file.
    """
    tags: dict[str, str] = {}
    for name, value in source.items():
        plain = name.lower().removeprefix(_APPLE)
        plain = _APPLE_NAMES.get(plain, plain)
        plain = re.sub(r"-[a-z]{3}$", "", plain)  # the same in a language: "location-eng"
        if not _TECHNICAL.fullmatch(plain):
            tags.setdefault(plain, value)
    for name, value in stated.items():
        before = tags.get(name)
        if before is None:
            tags[name] = value
        elif name == "comment" and value not in before:
            tags[name] = f"{value}\n{before}"
        elif name not in ("title", "comment"):
            tags[name] = value
    return tags


def language_tag(language: str, old: bool) -> str:
    """Return a language's code (ISO 639-2) as a file takes it.

    Args:
        language: "deu".
        old: Whether the file is a QuickTime one, which knows an older list.
    """
    return _OLD_LANGUAGES.get(language, language) if old else language


def advance_timecode(code: str, frames: int, fps: Fraction) -> str | None:
    """Return the time code of a frame further on, SMPTE ST 12-1.

    Args:
        code: Of the first frame: "01:02:03:04", or "01:02:03;04" which leaves out numbers of frames.
        frames: How much further.
        fps: Frames per second; rounded for counting.

    Returns:
        None where there is no such code at this rate.
    """
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)", code.strip())
    rate = round(fps)
    if found is None or rate < 1:
        return None
    hours, minutes, seconds, first = (int(found[group]) for group in (1, 2, 3, 5))
    drops = found[4] != ":"
    if (drops and rate % 30) or first >= rate:
        return None
    # The first 2 of 30 numbers are left out each minute, but not each tenth one.
    left_out = rate // 15 if drops else 0
    minute, ten_minutes = 60 * rate - left_out, 600 * rate - 9 * left_out
    total = 60 * hours + minutes
    number = (60 * total + seconds) * rate + first - left_out * (total - total // 10) + frames
    number %= 144 * ten_minutes  # a day
    tens, rest = divmod(number, ten_minutes)
    if rest >= 60 * rate:
        number += left_out * (1 + (rest - 60 * rate) // minute)
    number += 9 * left_out * tens
    whole, frame = divmod(number, rate)
    separator = ";" if drops else ":"
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{separator}{frame:02}"
