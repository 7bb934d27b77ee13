"""The folder of a company: its company file, and beside it what the company declares of its own."""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rapport_feast.errors import Rejected

COMPANY_FILE = "company.toml"
PARTS = MappingProxyType({"facts": ".toml", "catalogue": ".py", "labels": ".py", "recipes": ".py", "adapters": ".py"})
"""Folders of declarations, and the one kind of file that each may hold."""


@dataclass(frozen=True)
class Declaration:
    """A file of declarations as it stood when the company was opened; its name is that of what it declares."""

    part: str
    path: Path
    stamp: tuple[int, int]

    @property
    def name(self) -> str:
        """The name of what is declared: that of the file."""
        return self.path.stem

    @property
    def shown(self) -> str:
        """The path in the company's folder, as sentences name it."""
        return f"{self.part}/{self.path.name}"


@dataclass(frozen=True)
class Folder:
    """Where a company lies and what it declares of its own: the key of everything that is made from it."""

    path: Path
    declarations: tuple[Declaration, ...] = ()

    def of(self, part: str) -> tuple[Declaration, ...]:
        """Return the declarations of a part, by name."""
        return tuple(one for one in self.declarations if one.part == part)


def company_file(path: Path) -> Path:
    """Return the company file of a folder, or of its path itself.

    Raises
    ------
    Rejected
        There is nothing, the folder has no company file, or the file is of another kind.
    """
    if path.is_dir():
        if not (path / COMPANY_FILE).is_file():
            remedy = "rapport new NAME writes a company that runs."
            raise Rejected("company", f"a folder with a {COMPANY_FILE}", f"none in {path}", remedy)
        return path / COMPANY_FILE
    if not path.exists():
        remedy = "Name one with --company or RAPPORT_COMPANY."
        raise Rejected("company", f"a folder with a {COMPANY_FILE}", f"nothing at {path}", remedy)
    if path.suffix != ".toml":
        raise Rejected("company", f"a folder with a {COMPANY_FILE}, or that file", f"the file {path.name}")
    return path


def open_folder(path: Path) -> Folder:
    """Return a company's folder with its declarations.

    Raises
    ------
    Rejected
        A folder of declarations holds a file of another kind, or one whose name is no name.
    """
    return Folder(path, tuple(found for part, suffix in PARTS.items() for found in _declared(path / part, suffix)))


def _declared(folder: Path, suffix: str) -> list[Declaration]:
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(("_", ".")) or path.suffix == ".md":
            continue
        if path.suffix != suffix or not (path.stem.isidentifier() and path.stem.islower()):
            wanted = f"files named like customer_orders{suffix}"
            raise Rejected(f"company folder, {folder.name}", wanted, path.name)
        stat = path.stat()
        found.append(Declaration(folder.name, path, (stat.st_size, stat.st_mtime_ns)))
    return found
