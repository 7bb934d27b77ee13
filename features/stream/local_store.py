"""The local store of the stream: what it takes to compute a live value now (rule V8).

Last night's tiles, merged with the facts since. Facts of the longest exact window lie here one by one, older ones only
as tiles, each a cell of one entity and one hop. Where something of such a cell is revised, withdrawn, or turns out to
be about another entity, the cell *thaws*: its tile goes, its facts come in its place. So a late fact, a revision and a
link need no mechanism of their own, and every value is the same function of what is known: of the lake at the last
published night and the log since. Nothing here has to survive a crash.

Comes after the door and before ``runner.py``, which publishes what this store computes.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pyarrow as pa

from features.compute.windowing import micros_of
from features.declare.group import Group
from features.stream.database import Database
from features.stream.fact_tables import FactTables
from features.stream.group_tables import GroupTables, LiveValues
from infra.engine.engine import Engine
from infra.workspace import Workspace
from rapport_feast.times import DAY, day_number


class LocalStore:
    """The facts and tiles from which the live groups are computed, in a DuckDB database of this process.

    Parameters
    ----------
    ws
        The company's workspace.
    groups
        Live groups.
    night
        The last published night: facts known by its cutoff come from the lake, later ones are inserted from the log.
    engine
        What computes the values, where it is not the database itself.
    """

    def __init__(self, ws: Workspace, groups: Sequence[Group], night: date, engine: Engine | None = None) -> None:
        self.night, self._engine = night, engine
        self._database = Database(ws.lake)
        self._facts = FactTables(ws, self._database, groups, night)
        self._groups = [GroupTables(self._facts, group, cutoff_us(night), engine) for group in groups]
        self._threads = ThreadPoolExecutor(max(len(groups), 1), "group")

    def close(self) -> None:
        """Give back what the store holds."""
        self._threads.shutdown()
        for tables in self._groups:
            tables.close()
        self._database.close()

    def insert(self, rows: Mapping[str, pa.Table]) -> int:
        """Insert accepted facts; return how many were new: neither known nor repeated among themselves (rule T3).

        Parameters
        ----------
        rows
            Fact = rows in the columns of silver; facts that no live group reads are ignored.
        """
        return self._facts.insert(rows)

    def advance(self, log_us: int) -> Iterator[LiveValues]:
        """Move to a log time; yield the values of every entity that a fact, a link or a departure changed by then.

        The iterator is to be exhausted: what changed is forgotten once all groups have counted it.
        """
        self._facts.mark_relinked()
        # In DuckDB the groups run at once, each on a connection of its own; another engine has one session for all.
        run = map if self._engine else self._threads.map
        for values in run(lambda tables: tables.advance(log_us), self._groups):
            yield from values
        self._facts.clear_changed()

    def all_values(self) -> Iterator[LiveValues]:
        """Yield the values of all entities as they stand."""
        for tables in self._groups:
            yield from tables.all_values()

    def next_due_us(self) -> int | None:
        """Return when the first value changes by itself; none if none will."""
        return min((due for tables in self._groups if (due := tables.next_due_us()) is not None), default=None)


def cutoff_us(night: date) -> int:
    """Return the cutoff of a night in microseconds since the epoch.

    Examples
    --------
    >>> cutoff_us(date(1970, 1, 1))
    86399999999
    """
    return (day_number(night) + 1) * micros_of(DAY) - 1
