"""What a command line does whose part, another command line, was asked to end."""

SIGNALLED = 128
"""What a shell adds to the number of the signal that ended a program."""


class Ended(SystemExit):
    """A command line that this one ran was asked to end, and has said so."""


def end_as(status: int) -> None:
    """End this program as the one that gave this status, if a signal ended that.

    Raises:
        Ended: It is the status of a signal; others are left to the caller.
    """
    if status > SIGNALLED:
        raise Ended(status)
