"""Adapter of Online Retail II: each invoice line becomes one transaction.

A line has no id: it is known by its content and its ordinal among equal lines of the file, for 6,544 exactly equal
lines are not all mistakes.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import duckdb
import pyarrow as pa

from infra.company.source import Source
from rapport_feast.sql import quoted
from validation.sources.files import Parquet
from validation.sources.protocol import mapped_columns

LINE = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country")
CONTENT = f"concat_ws(chr(31), {', '.join(f'coalesce({quoted(column)}, chr(30))' for column in LINE)})"
# Decimal, not double: 0.1 + 0.2 of a penny has to come out the same everywhere.
QUANTITY, PRICE = "TRY_CAST(Quantity AS DECIMAL(18, 0))", "TRY_CAST(Price AS DECIMAL(18, 6))"
MINOR = f"round({QUANTITY} * {PRICE} * 100, 0)::BIGINT"
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "event_id": f"md5({CONTENT}) || '-' || _ordinal",
        "source_id": '"Customer ID"',
        "event_time": "InvoiceDate",
        "kind": f"""CASE WHEN Invoice LIKE 'C%' THEN 'refund'
            WHEN Invoice LIKE 'A%' OR {QUANTITY} < 0 OR {PRICE} < 0 THEN 'adjustment' ELSE 'order' END""",
        "order_id": "Invoice",
        "product": "StockCode",
        "quantity": "Quantity",
        "amount_minor": f"(CASE WHEN Invoice LIKE 'C%' THEN abs({MINOR}) ELSE {MINOR} END)::VARCHAR",
        "currency": "'GBP'",
    }
)
ORDINALS = f"""
    SELECT rows.*, (row_number() OVER (PARTITION BY _file, {CONTENT} ORDER BY _position))::VARCHAR AS _ordinal
    FROM rows ORDER BY _file, _position"""


class OnlineRetail(Parquet):
    """Invoice lines: orders, cancellations (C) and adjustments (A, or pieces taken out of stock)."""

    publisher = 'the UCI Machine Learning Repository ("Online Retail II")'

    def derive(self, rows: pa.Table) -> pa.Table:
        """Return the lines with their ordinal among equal lines of their file."""
        with duckdb.connect() as connection:
            return connection.register("rows", rows).sql(ORDINALS).to_arrow_table()

    def columns(self, source: Source) -> Mapping[str, str]:
        """Return the columns of ``transactions``."""
        return mapped_columns(source, COLUMNS)

    def available(self, source: Source) -> str:
        """Return the time of the invoice."""
        return quoted(source.available or "InvoiceDate")

    def needs(self, source: Source) -> Sequence[str]:
        """Return the raw columns of a line."""
        return [*LINE, *source.columns.values()]
