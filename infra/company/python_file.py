"""Python files of a company, run under private names: no stranger's module can stand in their way, nor they in its."""

import hashlib
import sys
import traceback
from functools import lru_cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from types import CodeType
from typing import Any

from infra.company.folder import Declaration
from rapport_feast.errors import RapportError, Rejected


class _Uncached(SourceFileLoader):
    """Reads the source each time and leaves no ``__pycache__`` in the user's folder."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@lru_cache
def declared(declaration: Declaration, *names: str) -> Any:
    """Return what a company's Python file declares under the first of some names that it has, such as ``GROUP``.

    Raises
    ------
    Rejected
        The file cannot be run, declares what cannot be, or declares none of the names.
    """
    private = hashlib.sha256(str(declaration.path).encode()).hexdigest()[:8]
    module_name = f"_rapport_company_{private}_{declaration.part}_{declaration.name}"
    loader = _Uncached(module_name, str(declaration.path))
    module = module_from_spec(ModuleSpec(module_name, loader, origin=str(declaration.path)))
    # Dataclasses and pickle look their module up by its name.
    sys.modules[module_name] = module
    try:
        loader.exec_module(module)
    except Exception as error:  # whatever a user's file does, the command says so in one sentence
        del sys.modules[module_name]
        raise _sentence(declaration, error) from error
    for name in names:
        if name in vars(module):
            return vars(module)[name]
    raise Rejected(declaration.shown, f"a {' or a '.join(names)}", "none")


def _sentence(declaration: Declaration, error: Exception) -> Rejected:
    """Return an error of a file with the line at which it arose."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        line = frame.lineno if frame.filename == str(declaration.path) else line
    where = f"{declaration.shown}, line {line}" if line else declaration.shown
    if isinstance(error, Rejected):
        return Rejected(f"{where}: {error.field}", error.expected, error.found, error.remedy)
    if isinstance(error, RapportError):
        return Rejected(where, "what can be declared", str(error))
    said = error.msg if isinstance(error, SyntaxError) else f"{type(error).__name__}: {error}"
    return Rejected(where, "Python that runs", said)


def refuse_unreadable(declaration: Declaration) -> None:
    """Refuse a file that is no Python, without running it.

    Raises
    ------
    Rejected
        It cannot be read.
    """
    try:
        compile(declaration.path.read_bytes(), str(declaration.path), "exec")
    except (SyntaxError, ValueError) as error:
        raise _sentence(declaration, error) from error
