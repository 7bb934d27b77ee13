"""Adapter of the ServiceNow incident log: each update of an incident becomes one ticket event.

What happened is told from the row and the rows before it in the incident (``event_seq``), never from later ones, and
the columns that carry hindsight cannot be mapped at all.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import duckdb
import pyarrow as pa

from infra.company.source import Source
from validation.sources.files import Parquet
from validation.sources.protocol import mapped_columns, refuse_hindsight

HINDSIGHT: Mapping[str, str] = MappingProxyType(
    {
        "resolved_at": "it is the incident's last resolution, known only afterwards",
        "resolved_by": "it is the incident's last resolution, known only afterwards",
        "closed_at": "it is known only at the closing",
        "closed_code": "it is known only at the closing",
        "made_sla": "before the closing it says nothing, and sla_met takes it from there",
        "knowledge": "it marks the calendar and not the incident",
        "notify": "it cannot be judged: it never changes and differs in 36 incidents of one month",
        "sys_created_at": "its gap goes with the outcome",
        "sys_created_by": "its gap goes with the outcome",
    }
)
KIND = """CASE
    WHEN _first = 'true' THEN 'opened'
    WHEN _assigned = 'true' THEN 'assigned'
    WHEN _reopened = 'true' THEN 'reopened'
    WHEN incident_state = 'Resolved' THEN 'resolved'
    WHEN incident_state = 'Closed' THEN 'closed'
    ELSE 'updated' END"""
CHANNEL = """CASE lower(contact_type) WHEN 'phone' THEN 'call' WHEN 'email' THEN 'email' WHEN 'ivr' THEN 'ivr'
    WHEN 'self service' THEN 'self_service' WHEN 'direct opening' THEN 'direct' ELSE contact_type END"""
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "event_id": "number || '-' || event_seq",
        "source_id": "caller_id",
        "event_time": "sys_updated_at",
        "ticket_id": "number",
        "kind": KIND,
        "priority": "priority",
        "category": "category",
        "assignment_group": "assignment_group",
        "channel": CHANNEL,
        "sla_met": "CASE WHEN incident_state = 'Closed' THEN made_sla END",
    }
)
# An update cannot be known before those that stand before it in the incident, whatever its own minute says.
PREDECESSORS = """
    WITH once AS (
        SELECT DISTINCT ON (number, event_seq) number, event_seq, sys_updated_at, assignment_group,
            TRY_CAST(reassignment_count AS BIGINT) AS handed, TRY_CAST(reopen_count AS BIGINT) AS again
        FROM rows ORDER BY number, event_seq, _file, _position),
    seen AS (
        SELECT number, event_seq, row_number() OVER life = 1 AS _first,
            row_number() OVER life > 1 AND (handed > lag(handed) OVER life
                OR assignment_group IS DISTINCT FROM lag(assignment_group) OVER life) AS _assigned,
            coalesce(again > lag(again) OVER life, false) AS _reopened,
            max(sys_updated_at) OVER life AS _available
        FROM once WINDOW life AS (PARTITION BY number ORDER BY TRY_CAST(event_seq AS BIGINT)))
    SELECT rows.*, _first::VARCHAR AS _first, _assigned::VARCHAR AS _assigned, _reopened::VARCHAR AS _reopened,
        _available
    FROM rows LEFT JOIN seen
        ON rows.number IS NOT DISTINCT FROM seen.number AND rows.event_seq IS NOT DISTINCT FROM seen.event_seq
    ORDER BY _file, _position"""


class ServiceNow(Parquet):
    """The incident log, one row per update of an incident."""

    publisher = 'the UCI Machine Learning Repository ("Incident management process enriched event log")'

    def derive(self, rows: pa.Table) -> pa.Table:
        """Return the rows with what their predecessors tell: first, handed on, reopened, and when it could be known."""
        with duckdb.connect() as connection:
            return connection.register("rows", rows).sql(PREDECESSORS).to_arrow_table()

    def columns(self, source: Source) -> Mapping[str, str]:
        """Return the columns of ``ticket_events``.

        Raises
        ------
        Rejected
            The company file maps a column that carries hindsight.
        """
        refuse_hindsight(source, HINDSIGHT)
        return mapped_columns(source, COLUMNS)

    def available(self, source: Source) -> str:
        """Return the update's own time, not before that of any update that stands before it."""
        return "_available"

    def needs(self, source: Source) -> Sequence[str]:
        """Return the raw columns of the log that the mapping reads."""
        return [
            *("number", "event_seq", "incident_state", "reassignment_count", "reopen_count", "made_sla", "caller_id"),
            *("sys_updated_at", "contact_type", "category", "priority", "assignment_group", *source.columns.values()),
        ]
