"""Adapter of the STAR dialogues: each row of a dialogue becomes one interaction, in the order ``i``.

Public is what both sides read: what the user wrote and what the wizard, who plays the agent, answered. Everything else
in a dialogue is private: look-ups, drafts, the wizard's clicks, the end. Instructions to the user were never seen by
the wizard and no part of the service: their row is kept and its text is not.
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
        "options": "it holds what was suggested to the wizard, the action that was then chosen among it",
        "n_events": "it is known only when the dialogue is over",
        "ended_at": "it is known only when the dialogue is over",
        "completion_level": "it is known only when the dialogue is over",
        "wizard_questionnaire": "it was answered when the dialogue was over",
    }
)
NEEDS = ("dialogue_id", "user_id", "i", "ts", "agent", "action", "action_label", "text")
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        # The number is padded so that ids of one moment are in the order of the dialogue.
        "event_id": "dialogue_id || '-' || lpad(i, 4, '0')",
        "source_id": "coalesce(user_id, 'dialogue-' || dialogue_id)",
        "event_time": "_time",
        "channel": "'chat'",
        "thread_id": "dialogue_id",
        "author_role": """CASE agent WHEN 'User' THEN 'customer' WHEN 'Wizard' THEN 'agent'
            WHEN 'KnowledgeBase' THEN 'bot' WHEN 'UserGuide' THEN 'bot' ELSE agent END""",
        "visibility": """CASE WHEN agent = 'User' AND action = 'utter'
            OR agent = 'Wizard' AND action IN ('utter', 'pick_suggestion') THEN 'public' ELSE 'private' END""",
        "text": "CASE WHEN agent <> 'UserGuide' THEN text END",
        "action": "CASE WHEN agent <> 'User' THEN coalesce(action_label, action) END",
    }
)
# What the knowledge base returned has no time: it is that of the row before it, the look-up, which asked for it.
TIMES = """
    SELECT rows.*, last_value(ts IGNORE NULLS) OVER (PARTITION BY _file, dialogue_id
            ORDER BY TRY_CAST(i AS BIGINT) ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS _time
    FROM rows ORDER BY _file, _position"""


class Star(Parquet):
    """Dialogues between a user and a wizard who plays the assistant, one row per step of either."""

    publisher = 'Rasa ("STAR: A Schema-Guided Dialog Dataset for Transfer Learning")'

    def derive(self, rows: pa.Table) -> pa.Table:
        """Return the rows with a time each: its own, else that of the row before it in the dialogue."""
        with duckdb.connect() as connection:
            return connection.register("rows", rows).sql(TIMES).to_arrow_table()

    def columns(self, source: Source) -> Mapping[str, str]:
        """Return the columns of ``interactions``.

        Raises
        ------
        Rejected
            The company file maps a column that carries hindsight.
        """
        refuse_hindsight(source, HINDSIGHT)
        return mapped_columns(source, COLUMNS)

    def available(self, source: Source) -> str:
        """Return the time of the row: a chat is known as it is written."""
        return "_time"

    def needs(self, source: Source) -> Sequence[str]:
        """Return the raw columns of a dialogue that the mapping reads."""
        return [*NEEDS, *source.columns.values()]
