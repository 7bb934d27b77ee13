"""What a table that we made ourselves must hold, as plain data; ``suites.py`` makes Great Expectations of it.

Rows of a source can be refused one by one; a table of ours that breaks a rule was made wrongly, so it is refused whole.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Between:
    """Every value of a column lies between two bounds, both included; none for no bound."""

    column: str
    least: float | None
    most: float | None

    def __str__(self) -> str:
        bounds = (("at least", self.least), ("at most", self.most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


@dataclass(frozen=True)
class Equal:
    """Two columns are equal in every row."""

    column: str
    other: str

    def __str__(self) -> str:
        return f"the same as {self.other}"


Rule = Between | Equal


@dataclass(frozen=True)
class Broken:
    """A rule that does not hold, with the labels of the rows that break it and some of what stands there."""

    rule: Rule
    rows: tuple[object, ...]
    found: tuple[object, ...]
