"""The rows of a group's fact that count, with their entity and tile."""

from ibis.expr.types import Table

from features.compute import expressions
from features.compute.as_known import entities
from features.compute.ordering import order_key
from features.compute.windowing import hop_micros, tile_of
from features.declare.group import Group
from infra.company.company import Company
from infra.engine.engine import Cut, uncut

ENTITY, TILE, NIGHT_NUMBER = "entity", "tile", "night_number"


def prepare(group: Group, company: Company, known: Table, links: Table | None = None, cut: Cut = uncut) -> Table:
    """Return the rows of a group's fact that count, with their entity, tile and key of order.

    Parameters
    ----------
    known, links
        The fact and identity links, from ``features.compute.as_known.versions``.
    cut
        How an engine computes a table before what follows is planned.
    """
    rows = entities(company, group.entity, group.fact, known, links, cut)
    if group.where is not None:
        rows = rows.filter(expressions.condition(rows, group.where))
    return rows.mutate(
        tile=tile_of(rows.event_us, hop_micros(group)), order_key=order_key(rows.event_us, rows.event_id)
    )
