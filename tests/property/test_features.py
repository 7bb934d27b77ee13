"""Random specs over random facts: the compiler equals a plain oracle, on both engines, and no mutant of it does.

25 groups, each over 20 histories with late, revised, retracted, missing and misordered facts and links, on borders to
the microsecond. The mutants show that these tests can fail.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest

from features.compute import build, tables
from features.declare.group import Group
from features.declare.terms import Expression, Operator
from infra.clock import Nights
from infra.engine.engine import Engine
from infra.engine.open import open_engine
from infra.lake.commit import Commit
from tests.property.agreement import PLANS, ask_oracle, check_live, check_nights, digests, live_rows, one_by_one
from tests.property.killing import DIFFERENT
from tests.property.mutants import MUTANTS, compared, copy_of
from tests.property.specs import CASES, KINDS, SPECS, drawn, workspace, write_history
from tests.property.streaming import check_stream

# Spark plans a query in half a second or more: it answers as many of the 25 specs as fit into a minute and a half.
ON_SPARK = 5
MUTANTS_AT_ONCE = 2
# The first specs in every run of the tests, all of them in the long assurance.
FIRST_SPECS = 8
NUMBERS = [pytest.param(n, marks=pytest.mark.assure if n >= FIRST_SPECS else ()) for n in range(SPECS)]
# The first specs in every run of the tests, all of them in the long assurance.
FIRST_SPECS = 8
NUMBERS = [pytest.param(n, marks=pytest.mark.assure if n >= FIRST_SPECS else ()) for n in range(SPECS)]


@pytest.mark.slow
@pytest.mark.row("T1", "T2", "T3", "T5", "T6", "T7", "V1", "V2", "V3", "V4", "V6", "V7", "R12", "G6")
@pytest.mark.parametrize("number", NUMBERS)
def test_compiler_equals_oracle(number: int, tmp_path: Path) -> None:
    group, history = drawn(number)
    answers = ask_oracle(group, history)
    assert any(answers.nights.values())
    assert len(history.cases) == CASES
    ws = workspace(tmp_path)
    write_history(ws, group, history)
    with open_engine(ws, "duckdb") as engine:
        once = build.compute(ws, engine, group, history.nights)
        check_nights(group, history, answers, once.features)
        if number % 3 == 0:
            assert digests(ws, one_by_one(ws, engine, group, history.nights)) == digests(ws, once)
        else:
            # An older night again, or the newest, on the tiles that the history left.
            ws.lake.replace(tables.tiles_table(group), once.tiles, Commit(history.nights))
            night = [*history.nights][number % 3]
            again = Nights(night, night)
            assert digests(ws, build.compute(ws, engine, group, again, whole=False)) == digests(ws, once, again)
        for plan in PLANS:
            check_live(ws, engine, group, history, answers, plan)


@pytest.mark.slow
@pytest.mark.row("T8", "V5", "V8", "F11")
@pytest.mark.parametrize("number", NUMBERS)
def test_stream_equals_oracle(number: int, tmp_path: Path) -> None:
    """Duplicates, late and misordered facts, revisions, retractions and links; no value is computed anew (F11, F12)."""
    group, history = drawn(number)
    ws = workspace(tmp_path)
    with open_engine(ws, "duckdb") as engine:
        assert check_stream(ws, engine, group, history) >= CASES


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(workspace(tmp_path_factory.mktemp("spark")), "spark") as engine:
        yield engine


@pytest.mark.assure
@pytest.mark.parametrize("number", range(ON_SPARK))
def test_spark_equals_duckdb(number: int, spark: Engine, tmp_path: Path) -> None:
    group, history = drawn(number)
    ws = workspace(tmp_path)
    write_history(ws, group, history)
    plan = PLANS[number % len(PLANS)]
    with open_engine(ws, "duckdb") as engine:
        built = build.compute(ws, engine, group, history.nights)
        values = live_rows(ws, engine, group, history, plan)
    assert digests(ws, build.compute(ws, spark, group, history.nights)) == digests(ws, built)
    assert live_rows(ws, spark, group, history, plan).equals(values)


@pytest.mark.assure
def test_every_mutant_differs_from_the_oracle(tmp_path: Path) -> None:
    """Every mutant is noticed as a difference of values; the compiler as it is passes the same comparisons."""
    control = compared(copy_of(None, tmp_path / "control"), *sorted({one.killer for one in MUTANTS}))
    assert control.returncode == 0, control.stdout + control.stderr
    folders = [copy_of(mutant, tmp_path / str(number)) for number, mutant in enumerate(MUTANTS)]
    with ThreadPoolExecutor(MUTANTS_AT_ONCE) as pool:
        ran = [*pool.map(compared, folders, [mutant.killer for mutant in MUTANTS])]
    survivors = [
        f"{mutant.file}, {mutant.new.strip()}: {one.returncode} {one.stdout}{one.stderr[-2000:]}"
        for mutant, one in zip(MUTANTS, ran, strict=True)
        if one.returncode != DIFFERENT
    ]
    assert len(MUTANTS) >= 20
    assert survivors == []


def test_specs_cover_every_kind_and_operator() -> None:
    groups = [drawn(number, cases=1)[0] for number in range(SPECS)]
    assert {measure.kind for group in groups for measure in group.measures} == set(KINDS)
    assert {name for group in groups for part in _parts(group) for name in _operators(part)} == set(get_args(Operator))
    assert {group.entity.name for group in groups} == {"customer", "ticket", "queue"}


def _parts(group: Group) -> Iterator[object]:
    yield group.where
    for measure in group.measures:
        yield from (measure.of, measure.where)
    yield from (derived.value for derived in group.derived)


def _operators(part: object) -> Iterator[str]:
    if isinstance(part, Expression):
        yield part.operator
        for inner in part.operands:
            yield from _operators(inner)
