"""A question may say what it knew: by any moment, before its own or after it, the compiler equals the oracle."""

import random
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from features.compute import historical
from features.compute.bands import POSITION
from features.declare.group import Group
from infra.engine.open import open_engine
from rapport_feast.times import MICROSECOND
from tests.property.agreement import PLANS
from tests.property.oracle import Oracle
from tests.property.specs import COMPANY, STAMP, History, drawn, workspace, write_history

Query = tuple[int, str, datetime, datetime]


@pytest.mark.row("V1", "T2")
@pytest.mark.parametrize("number", [0, 4, 9, 13, 17, 22])
def test_values_known_at_any_moment_equal_the_oracle(number: int, tmp_path: Path) -> None:
    group, history = drawn(number)
    queries = _queries(history)
    oracles = [Oracle(group, case.facts, case.links, COMPANY.identity) for case in history.cases]
    expected = [oracles[case].live(key, at, known) for case, key, at, known in queries]
    lagged = [oracles[case].live(key, at) for case, key, at, _ in queries]
    assert sum(one != other for one, other in zip(expected, lagged, strict=True)) >= 10, "the column says nothing"
    ws = workspace(tmp_path)
    write_history(ws, group, history)
    with open_engine(ws, "duckdb") as engine:
        for plan in PLANS:
            found = historical.compute(ws, engine, group, _spine(group, queries), plan).drop("position").to_pylist()
            for row, truth, query in zip(found, expected, queries, strict=True):
                assert row == truth, (plan, query)


def _queries(history: History) -> list[Query]:
    """Return case, key, moment and what was known: around arrivals, long after, some time before."""
    chance = random.Random(len(history.spine))
    found = []
    for case, key, at in history.spine:
        arrivals = [row["ingested_at"] for row in (*history.cases[case].facts, *history.cases[case].links)]
        known = chance.choice(
            [
                chance.choice(arrivals) + chance.choice([-1, 0, 1]) * MICROSECOND,
                at + timedelta(days=chance.randrange(40)),
                at - timedelta(minutes=chance.randrange(5000)),
                max(arrivals),
            ]
        )
        found.append((case, key, at, known))
    return found


def _spine(group: Group, queries: list[Query]) -> pa.Table:
    return pa.table(
        {
            group.entity.key: pa.array([key for _, key, _, _ in queries], pa.string()),
            historical.TIME: pa.array([at for _, _, at, _ in queries], STAMP),
            historical.KNOWN: pa.array([known for *_, known in queries], STAMP),
            POSITION: pa.array(range(len(queries)), pa.int64()),
        }
    )
