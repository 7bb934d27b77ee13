"""Great Expectations suites made from the contracts: one expectation per rule, each with the reason it stands for.

Tables of ours have suites as well, made of what their makers expect (``table_rules.py``).
The gate hands over frames of parsed rows and gets back which rows broke which rule; Data Docs are built on the way.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.data_context import EphemeralDataContext, FileDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.datasource.fluent import PandasDatasource
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column as Where

from rapport_feast.errors import Terminal
from validation.contracts.language import Column, Contract, Rule
from validation.contracts.own import Contracts
from validation.gate import table_rules

EXAMPLES = 3
COMPLETE = {"result_format": "COMPLETE", "include_unexpected_rows": False}
Broken = Mapping[str, list[int]]


def expectations(contract: Contract) -> dict[str, Expectation]:
    """Return the expectations of a contract by the reason that a row which breaks one is given.

    Examples
    --------
    >>> from validation.contracts.decisions import OUTCOMES
    >>> list(expectations(OUTCOMES))[-4:]
    ['unknown:kind', 'missing:value', 'range:value', 'event_time_in_the_future']
    """
    found = {reason: made for column in contract.all_columns for reason, made in column_expectations(column)}
    found |= {rule.name: rule_expectation(rule) for rule in contract.all_rules}
    return {reason: made.copy(update={"meta": {"reason": reason}}) for reason, made in found.items()}


def column_expectations(column: Column) -> Iterator[tuple[str, Expectation]]:
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


def rule_expectation(rule: Rule) -> Expectation:
    """Return the expectation of a rule between columns."""
    first, second = rule.columns
    where = Where(second).is_in(list(rule.words))
    if rule.kind == "given_when":
        return gxe.ExpectColumnValuesToNotBeNull(column=first, row_condition=where)
    if rule.kind == "not_negative":
        return gxe.ExpectColumnValuesToBeBetween(column=first, min_value=0, row_condition=where)
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=second, column_B=first, or_equal=True, ignore_row_if="either_value_is_missing"
    )


def validate(contracts: Contracts, frames: Mapping[str, pd.DataFrame], folder: Path) -> dict[str, Broken]:
    """Validate frames of facts against their contracts and build the Data Docs of this run.

    Parameters
    ----------
    contracts
        The company's, by fact.
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
    context = file_context(folder)
    source = context.data_sources.add_pandas("facts")
    broken = {fact: validate_fact(context, source, contracts[fact], frame) for fact, frame in frames.items()}
    context.build_data_docs()
    return broken


def file_context(folder: Path) -> FileDataContext:
    """Return a file context without telemetry and progress bars."""
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="file", project_root_dir=folder)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    context.variables.analytics_enabled = False
    return context


def validate_fact(
    context: FileDataContext, source: PandasDatasource, contract: Contract, frame: pd.DataFrame
) -> Broken:
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


def check_table(table: str, frame: pd.DataFrame, rules: Sequence[table_rules.Rule]) -> list[table_rules.Broken]:
    """Return the rules of a table that a frame of its rows breaks.

    Parameters
    ----------
    frame
        Rows of the table; its index names them in what is returned.

    Raises
    ------
    Terminal
        An expectation itself failed: the suite does not fit the frame.
    """
    made = [table_expectation(rule).copy(update={"meta": {"place": place}}) for place, rule in enumerate(rules)]
    source = memory_context().data_sources.add_pandas("tables")
    batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("rows")
    suite = gx.ExpectationSuite(table, expectations=made)
    report = batch.get_batch({"dataframe": frame.reset_index(drop=True)}).validate(suite, result_format=COMPLETE)
    broken = []
    for result in report.results:
        rule = rules[result.expectation_config.meta["place"]]
        if result.exception_info.get("raised_exception"):
            raise Terminal(f"{table}: the expectation that {rule.column} is {rule} failed: {result.exception_info}")
        if not result.success:
            places = result.result["unexpected_index_list"]
            found = [value[0] if isinstance(value, tuple) else value for value in result.result["unexpected_list"]]
            broken.append(table_rules.Broken(rule, tuple(frame.index[places]), tuple(found[:EXAMPLES])))
    return broken


def table_expectation(rule: table_rules.Rule) -> Expectation:
    """Return the expectation of a rule of a table."""
    if isinstance(rule, table_rules.Equal):
        return gxe.ExpectColumnPairValuesToBeEqual(column_A=rule.column, column_B=rule.other, ignore_row_if="neither")
    return gxe.ExpectColumnValuesToBeBetween(column=rule.column, min_value=rule.least, max_value=rule.most)


def memory_context() -> EphemeralDataContext:
    """Return a context that writes nothing; a new one, because the newest of a process is everybody's."""
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    context.variables.analytics_enabled = False
    return context
