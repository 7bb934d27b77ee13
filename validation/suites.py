"""Great Expectations suites made from the contracts: one expectation per rule, each with the reason it stands for.

The gate hands over frames of parsed rows and gets back which rows broke which rule; Data Docs are built on the way.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.data_context import FileDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.datasource.fluent import PandasDatasource
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column as Where

from infra.errors import Terminal
from validation.contracts import CONTRACTS, Column, Contract, Rule

COMPLETE = {"result_format": "COMPLETE", "include_unexpected_rows": False}
Broken = Mapping[str, list[int]]


def expectations(contract: Contract) -> dict[str, Expectation]:
    """Return the expectations of a contract by the reason that a row which breaks one is given.

    Examples
    --------
    >>> list(expectations(CONTRACTS["outcomes"]))[-4:]
    ['unknown:kind', 'missing:value', 'range:value', 'event_time_in_the_future']
    """
    found = {reason: made for column in contract.all_columns for reason, made in of_column(column)}
    found |= {rule.name: of_rule(rule) for rule in contract.all_rules}
    return {reason: made.copy(update={"meta": {"reason": reason}}) for reason, made in found.items()}


def of_column(column: Column) -> Iterator[tuple[str, Expectation]]:
    """Yield reason and expectation of every rule of a column."""
    name = column.name
    if column.required:
        yield f"missing:{name}", gxe.ExpectColumnValuesToNotBeNull(column=name)
    if column.allowed:
        yield f"unknown:{name}", gxe.ExpectColumnValuesToBeInSet(column=name, value_set=list(column.allowed))
    if column.pattern:
        yield f"form:{name}", gxe.ExpectColumnValuesToMatchRegex(column=name, regex=rf"\A(?:{column.pattern})\Z")
    if column.least is not None or column.most is not None:
        yield (
            f"range:{name}",
            gxe.ExpectColumnValuesToBeBetween(column=name, min_value=column.least, max_value=column.most),
        )


def of_rule(rule: Rule) -> Expectation:
    """Return the expectation of a rule between columns."""
    first, second = rule.columns
    if rule.kind == "not_negative":
        where = Where(second).is_in(list(rule.words))
        return gxe.ExpectColumnValuesToBeBetween(column=first, min_value=0, row_condition=where)
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=second, column_B=first, or_equal=True, ignore_row_if="either_value_is_missing"
    )


def validate(frames: Mapping[str, pd.DataFrame], folder: Path) -> dict[str, Broken]:
    """Validate frames of facts against their contracts and build the Data Docs of this run.

    Parameters
    ----------
    frames
        Per fact the parsed rows, with ``_row`` as index.
    folder
        Where Great Expectations keeps its files; those of the last run are replaced.

    Returns
    -------
    dict
        Per fact and reason the index of the rows that broke the rule.
    """
    shutil.rmtree(folder, ignore_errors=True)
    context = quiet(folder)
    source = context.data_sources.add_pandas("facts")
    broken = {fact: run(context, source, CONTRACTS[fact], frame) for fact, frame in frames.items()}
    context.build_data_docs()
    return broken


def quiet(folder: Path) -> FileDataContext:
    """Return a file context without telemetry and progress bars."""
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="file", project_root_dir=folder)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    context.variables.analytics_enabled = False
    return context


def run(context: FileDataContext, source: PandasDatasource, contract: Contract, frame: pd.DataFrame) -> Broken:
    """Validate one fact.

    Raises
    ------
    Terminal
        An expectation itself failed: the suite does not fit the frame.
    """
    batch = source.add_dataframe_asset(contract.fact).add_batch_definition_whole_dataframe("rows")
    suite = context.suites.add(gx.ExpectationSuite(contract.fact, expectations=list(expectations(contract).values())))
    definition = gx.ValidationDefinition(name=contract.fact, data=batch, suite=suite)
    report = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame}, result_format=COMPLETE
    )
    broken: dict[str, list[int]] = {}
    for result in report.results:
        reason = result.expectation_config.meta["reason"]
        if result.exception_info.get("raised_exception"):
            raise Terminal(f"{contract.fact}: the expectation {reason} failed: {result.exception_info}")
        broken[reason] = result.result.get("unexpected_index_list") or []
    return broken
