"""Killed (SIGKILL) at 200 random points of build and publish: a night is there whole or not at all, and runs again."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.two_nights import NEXT, ResettableCompany, fork_server, resettable_companies

SEED = int(os.environ.get("FAULT_SEED", "20261121"))
POINTS, LANES, IN_A_ROW = 200, 2, 8
# Half of the rows of kills begin behind the build, so that publishing, which is shorter, gets its share.
STATES = ("before", "built")


def kill_often(company: ResettableCompany, seed: int) -> None:
    """Run the second night over and over, killed at random points of its length.

    It is begun again where the last kill left it. When it ends, by itself or let go, it is compared and undone.
    """
    chance, killed, row = random.Random(seed), 0, 0
    with fork_server(company.ws) as children:
        lengths = {}
        for state in STATES:
            company.reset(state)
            lengths[state] = children.run("both", NEXT)[1]
        company.reset(state)
        while killed < POINTS // LANES or row:
            last = row == IN_A_ROW or killed == POINTS // LANES
            code, _ = children.run("both", NEXT, 60 if last else chance.random() * lengths[state])
            company.check()
            assert code in (0, -9), "a run failed by itself, see stderr"
            if code == 0:
                company.check_done()
                state = chance.choice(STATES)
                company.reset(state)
            killed, row = (killed, 0) if code == 0 else (killed + 1, row + 1)


@pytest.mark.row("F8")
@pytest.mark.assure
def test_killed_anywhere_a_night_is_whole_or_not_there_and_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    print(f"FAULT_SEED={SEED}")
    with resettable_companies(tmp_path, LANES) as made, ThreadPoolExecutor(LANES) as pool:
        list(pool.map(kill_often, made, range(SEED, SEED + LANES)))
