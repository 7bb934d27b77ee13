"""The small tree of errors: what a caller can do about a fault is its type."""

import re

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def one_line(error: BaseException) -> str:
    """Return what another library's error says, for a sentence of ours: in one line, without colours."""
    return " ".join(COLOUR.sub("", str(error)).split())


class RapportError(Exception):
    """Base of every error that Rapport raises on purpose; its text is one clear sentence."""


class Rejected(RapportError):
    """Bad input: retrying cannot help, somebody has to change what was given.

    Parameters
    ----------
    field
        What was wrong, in the user's words: a file, a column, a setting.
    expected
        What would have been right.
    found
        What stood there instead, if there was anything.
    remedy
        What to do about it.
    """

    def __init__(self, field: str, expected: str, found: str = "", remedy: str = "") -> None:
        self.field, self.expected, self.found, self.remedy = field, expected, found, remedy
        sentence = f"{field}: expected {expected}"
        sentence += f", found {found}" if found else ""
        super().__init__(f"{sentence}. {remedy}".rstrip() if remedy else f"{sentence}.")


class Transient(RapportError):
    """A fault that is likely to pass: the same call may be made again."""


class Terminal(RapportError):
    """A fault that no retry mends and that no input caused: a broken invariant, a failed digest."""
