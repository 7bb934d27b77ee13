"""The same night twice, cleared and again, and back-filled while a later one runs: all of it at once, as if once."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.two_nights import NEXT, ResettableCompany, fork_server, resettable_companies
from tests.small_companies import NIGHT

TIMES = 3


def writes(company: ResettableCompany) -> int:
    """Return how many rows the online store was given since it was last asked."""
    with company.store.client() as client:
        calls = client.info("commandstats").get("cmdstat_hset", {"calls": 0})["calls"]
        client.config_resetstat()
    return int(calls)


@pytest.mark.row("F17")
@pytest.mark.assure
def test_nights_that_run_at_once_give_the_digests_of_nights_in_a_row_and_are_published_once(tmp_path: Path) -> None:
    with (
        resettable_companies(tmp_path, 1) as (company,),
        fork_server(company.ws) as one,
        fork_server(company.ws) as two,
        ThreadPoolExecutor(2) as pool,
    ):
        company.reset()
        writes(company)
        assert one.run("both", NEXT)[0] == 0
        once = writes(company)
        record = company.ws.root / "feast" / "published.json"
        for _ in range(TIMES):
            company.reset()
            writes(company)
            # Live and its repetition; then a back-fill of the night before while the live one is cleared and run again.
            for nights in ((NEXT, NEXT), (NIGHT, NEXT)):
                codes = list(pool.map(lambda child, night: child.run("both", night)[0], (one, two), nights))
                assert codes == [0, 0]
            company.check_done()
            assert writes(company) == once
            assert set(json.loads(record.read_text())["nights"]) == {str(NIGHT), str(NEXT)}
