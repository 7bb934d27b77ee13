"""The command line: each command opens the company's workspace and calls the one function that does it."""

from collections.abc import Sequence
from typing import NoReturn

from rapport.rooms import enter


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    enter()
    from rapport.cli.commands import main as run

    run(arguments)
