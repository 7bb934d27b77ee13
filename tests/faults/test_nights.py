"""Night by night, in one pass, out of order, and without the no-op check: the digests of every table are equal."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from infra.workspace import Workspace
from rapport import world
from tests.run_nights import again, digests, run
from validation.sources.coverage import first_night


@pytest.mark.row("T5")
@pytest.mark.row("T6")
@pytest.mark.assure
def test_every_way_to_run_the_nights_gives_the_same_digests(
    workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    once = workspace(customers=60, days=4)
    world.ensure(once)
    first = first_night(once)
    nights = [first + timedelta(days=i) for i in range(4)]
    run(once, nights[-1:])
    expected = digests(once)
    assert sum(len(days) for days in expected.values()) > 100

    daily = again(once, tmp_path / "daily")
    run(daily, nights)
    assert digests(daily) == expected

    # Night 2 again after night 4, with late and revised facts known since.
    run(daily, [nights[1]])
    assert digests(daily) == expected

    forced = replace(daily, settings=daily.settings.model_copy(update={"skip_unchanged": False}))
    run(forced, [nights[1], nights[-1]])
    assert digests(forced) == expected
