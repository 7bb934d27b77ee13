"""The contracts that declarations are read by: Rapport's own, or a company's while its files are loaded."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from validation.contracts.language import Contract
from validation.contracts.standard import CONTRACTS

Contracts = Mapping[str, Contract]
_declaring: ContextVar[Contracts] = ContextVar("declaring", default=CONTRACTS)


def vocabulary() -> Contracts:
    """Return the contracts by which a group or request is read that is declared now."""
    return _declaring.get()


@contextmanager
def declaring(contracts: Contracts) -> Iterator[None]:
    """Read declarations by a company's contracts: its files name facts and columns, and need not name the company."""
    token = _declaring.set(contracts)
    try:
        yield
    finally:
        _declaring.reset(token)
