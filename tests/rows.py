"""Pytest plugin: notes which row each test shows and how it ended, and in CI turns every skip into a failure."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.settings import Settings
from rapport.cli.rows import PASSED, WHOLE, Part, write_rows

# What make test and make assure choose.
PART_OF: dict[str, Part] = {"": WHOLE, "not assure": "test", "assure": "assure"}
IN_CI = os.environ.get("CI", "").lower() == "true"


class RowsPlugin:
    """The outcome of every test that carries ``@pytest.mark.row``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.collected: set[str] = set()
        self.rows: dict[str, set[str]] = defaultdict(set)
        self.outcomes: dict[str, str] = {}

    @pytest.hookimpl(trylast=True)  # what the run leaves out is gone by then
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Write the rows of each test where its reports carry them, also from one process to another."""
        self.collected |= {item.nodeid for item in items}
        for item in items:
            item.user_properties += [("row", row) for mark in item.iter_markers("row") for row in mark.args]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Note what the other processes collected."""
        self.collected |= {*ids}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the rows of a test and the worst that happened to it over set-up, call and tear-down."""
        self.rows[report.nodeid] |= {str(row) for name, row in report.user_properties if name == "row"}
        if report.when == "call" or report.outcome != PASSED:
            outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
            if self.outcomes.get(report.nodeid, PASSED) == PASSED:
                self.outcomes[report.nodeid] = outcome

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the rows, if all tests of a part ran: some of them say nothing about a row."""
        if hasattr(session.config, "workerinput"):
            return  # the process that started this one writes them
        ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        part = part_of(session.config)
        if not (ended and part and self.outcomes.keys() >= self.collected):
            return
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for test, rows in self.rows.items():
            for row in rows:
                name = test.partition("[")[0]
                if found[row].get(name, PASSED) == PASSED:
                    found[row][name] = self.outcomes[test]
        write_rows(self.home, part, found)


def part_of(config: pytest.Config) -> Part | None:
    """Return which tests run, unless something else narrows the run."""
    chosen = config.option
    narrowed = [chosen.keyword, chosen.deselect, chosen.ignore, chosen.collectonly]
    narrowed += [config.getoption("lf", False), config.getoption("stepwise", False)]
    if any(narrowed) or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return None
    return PART_OF.get(chosen.markexpr)


def pytest_configure(config: pytest.Config) -> None:
    """Start to take notes; the folder is that of this moment, whatever tests do to the environment."""
    config.pluginmanager.register(RowsPlugin(config.rootpath / Settings().home), "rapport-rows")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """In CI, a test that finds a real part or the data missing fails."""
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """In CI, so does a whole module that would be skipped."""
    return refuse_skip((yield))


def refuse_skip(report):
    """Make a skipped report a failed one in CI; an expected failure is none."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome, report.longrepr = "failed", f"{reason}\nWith CI=true nothing may be skipped."
    return report
