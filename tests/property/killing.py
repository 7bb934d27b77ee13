"""A short run of the comparison with the oracle, as a process of its own: for compilers that were changed on purpose.

``python -m tests.property.killing 4:night 9:rows`` compares by those specs and ways, in the folder whose ``features/``
it shall find. It says that a value differs by its exit code, so that a crash cannot pass for a difference.
"""

import sys
import tempfile
from pathlib import Path

import features
from features.compute import build
from infra.engine.open import open_engine
from tests.property.agreement import Answers, ask_oracle, check_live, check_nights, digests, one_by_one
from tests.property.specs import drawn, workspace, write_history
from tests.property.streaming import check_stream

DIFFERENT = 42


def compare(number: int, way: str, folder: Path) -> None:
    """Compare one spec with the oracle by one way: its nights at once, one by one, or a plan of the live compiler."""
    group, history = drawn(number)
    ws = workspace(folder)
    answers = ask_oracle(group, history) if way != "stream" else Answers({}, [])
    if way != "stream":  # which writes the history by itself, without what the gate would not let in
        write_history(ws, group, history)
    with open_engine(ws, "duckdb") as engine:
        match way:
            case "once":
                check_nights(group, history, answers, build.compute(ws, engine, group, history.nights).features)
            case "daily":
                daily = one_by_one(ws, engine, group, history.nights)
                check_nights(group, history, answers, daily.features)
                assert digests(ws, daily) == digests(ws, build.compute(ws, engine, group, history.nights))
            case "stream":
                assert check_stream(ws, engine, group, history)
            case "rows" | "cells":
                check_live(ws, engine, group, history, answers, way)
            case _:
                raise ValueError(way)


def main(asked: list[str]) -> int:
    """Compare in the order asked; stop at the first difference."""
    found = Path(next(iter(features.__path__))).parent
    if found != Path.cwd():
        raise RuntimeError(f"features was imported from {found}, not from {Path.cwd()}")
    for one in asked:
        number, _, way = one.partition(":")
        try:
            with tempfile.TemporaryDirectory() as folder:
                compare(int(number), way, Path(folder))
        except AssertionError as difference:
            print(one, str(difference).partition("\n")[0])
            return DIFFERENT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
