"""Logged requests as a spine, with the features that serving computed from them, by the same expressions.

A message is no fact yet while it is answered, so group features at its time do not count it: it is known after t.
"""

from datetime import date

import ibis
import pandas as pd
from ibis import _

from features.compute.as_known import FOREVER, history
from features.compute.expressions import condition, derive
from features.declare.entity import CUSTOMER, TICKET
from features.declare.request import Request
from infra.workspace import Workspace


def logged_requests(ws: Workspace, request: Request, night: date) -> pd.DataFrame:
    """Return the requests that are known at a night's cutoff, each as it came, without later corrections.

    Returns
    -------
    pandas.DataFrame
        ``customer_id``, ``ticket_id`` where the fact has one, ``event_time``, ``event_id``, the inputs and the
        features; one row per request that was not withdrawn, sorted by time and id.

    Raises
    ------
    Rejected
        The fact was never written.
    """
    keys = [CUSTOMER.key, *([TICKET.key] if request.fact in TICKET.columns else [])]
    with ws.lake.connect() as connection:
        rows = history(ws, connection, request.fact, night)
        order = ibis.window(group_by=_.event_id, order_by=[_.known_from, _.known_until])
        first = rows.mutate(
            place=ibis.row_number().over(order), until=_.known_until.max().over(ibis.window(group_by=_.event_id))
        ).filter(_.place == 0, _.until == FOREVER)
        requests = first if request.where is None else first.filter(condition(first, request.where))
        found = derive(request, {name: requests[name] for name in request.inputs})
        chosen = requests.select(*keys, "event_time", "event_id", *request.inputs, **found)
        spine: pd.DataFrame = connection.execute(ibis.to_sql(chosen, dialect="duckdb")).df()
    return spine.assign(event_time=spine["event_time"].astype("datetime64[us, UTC]")).sort_values(
        ["event_time", "event_id"], kind="stable", ignore_index=True
    )
