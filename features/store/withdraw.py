"""Taking back rows of nights that lost them: the store keeps the newest, so an older row could not replace one."""

from collections.abc import Iterator
from datetime import date

from features.compute.tables import features_table
from features.declare.group import Group
from infra.clock import Nights, cutoff
from infra.lake.lake import NIGHT
from infra.workspace import Workspace
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import entity_key, feature_field, row_field, time_field
from rapport_feast.value_form import encode_time

BATCH = 1000
# Only if it is still the row of that night: something newer may have come meanwhile.
WITHDRAW = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1], unpack(ARGV, 3))
"""


def withdraw(ws: Workspace, online: OnlineStore, group: Group, nights: tuple[date, ...]) -> int:
    """Remove a view's online rows of some nights whose table has no such row any more.

    Publishing then writes the newest row that is true. Rows that only have other values stay until it replaces them.

    Returns
    -------
    int
        How many rows were removed.
    """
    stamps = {encode_time(cutoff(night)): night for night in nights}
    true, stamp = _keys(ws, online.project, group, nights), time_field(group.view)
    fields = [row_field(group.view), *(feature_field(group.view, feature.name) for feature in group.outputs)]
    prefix, removed = entity_key("", {group.entity.key: ("string", "")})[:-4], 0  # the length of the id comes last
    known = online.keys()
    with online.client() as client:
        for keys in _batches([key for key in known if key.startswith(prefix)]):
            with client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hget(key, stamp)
                held = pipe.execute()
            with client.pipeline(transaction=False) as pipe:
                for key, at in zip(keys, held, strict=True):
                    if at in stamps and (key, stamps[at]) not in true:
                        pipe.eval(WITHDRAW, 1, key, stamp, at, *fields)
                removed += sum(map(bool, pipe.execute()))
    return removed


def _keys(ws: Workspace, project: str, group: Group, nights: tuple[date, ...]) -> set[tuple[bytes, date]]:
    """Return the hash keys that have a row in a night's table, with the night."""
    with ws.lake.connect() as connection:
        view = ws.lake.view(connection, features_table(group), Nights(min(nights), max(nights)))
        rows = connection.execute(
            f'SELECT DISTINCT "{group.entity.key}", {NIGHT} FROM "{view}" WHERE list_contains(?, {NIGHT})', [[*nights]]
        ).fetchall()
    return {(entity_key(project, {group.entity.key: ("string", entity)}), night) for entity, night in rows}


def _batches(keys: list[bytes]) -> Iterator[list[bytes]]:
    return (keys[first : first + BATCH] for first in range(0, len(keys), BATCH))
