"""A hot key: 10 million events as in ``windows``, but one customer has 5 % of events and questions, or there are 20."""

from pathlib import Path

from tests.load import events as made
from tests.load.bench import Entry, timed
from tests.load.windows import CUSTOMERS, asked, equal, one_statement, prepared

ROWS, SMALL = 10_000_000, 200_000


def run(folder: Path) -> list[Entry]:
    """Return the figures, once the answers over a smaller history equal those of the plain statement."""
    for number, events in enumerate((made.Events(SMALL, CUSTOMERS, hot=0.05), made.Events(SMALL, 20))):
        ws, spine = prepared(folder / f"small{number}", events)
        few = spine.slice(0, 2_000)
        if not equal(asked(ws, few)(), one_statement(ws, few)()):
            raise SystemExit("hot key: the answers differ, so their times say nothing")
    even = asked(*prepared(folder, made.Events(ROWS, CUSTOMERS)))
    hot = asked(*prepared(folder, made.Events(ROWS, CUSTOMERS, hot=0.05)))
    few_keys = asked(*prepared(folder, made.Events(ROWS, 20)))
    return [
        timed("hot key: one key with 5 % beside even keys", hot, even, bar=4.0, pairs=3),
        timed("hot key: 20 keys in all beside even keys", few_keys, even, bar=8.0, pairs=3),
    ]
