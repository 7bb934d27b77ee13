"""The examples in the docstrings of the rooms do what they show."""

import doctest
from importlib import import_module

import pytest

from infra.settings import ROOT
from tests.unit.test_house import SOURCES

WITH_EXAMPLES = [path for path in SOURCES if ">>> " in path.read_text()]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples(path):
    found = doctest.testmod(import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)))
    assert (found.attempted > 0, found.failed) == (True, 0)
