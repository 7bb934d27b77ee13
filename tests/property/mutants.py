"""Mutants of the compiler: each changes one place, and a comparison with the oracle must notice it.

A mutant whose old text does not stand exactly once in its file is refused: it would show nothing.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.settings import ROOT


@dataclass(frozen=True)
class Mutant:
    """A change of one place.

    Attributes
    ----------
    file, old, new
        Which text of ``features/`` becomes which.
    why
        What is wrong with it.
    killer
        The spec and way of comparison that notice it, as ``killing`` takes them.
    """

    file: str
    old: str
    new: str
    why: str
    killer: str


MUTANTS = (
    # The algebra.
    Mutant(
        "compute/windowing.py",
        "((micros - 1) // hop)",
        "(micros // hop)",
        "a border belongs to the tile after",
        "4:once",
    ),
    Mutant(
        "compute/windowing.py",
        "return last - window // timedelta(microseconds=hop)",
        "return last - 1 - window // timedelta(microseconds=hop)",
        "a hop too many",
        "4:once",
    ),
    Mutant(
        "compute/windowing.py",
        "    return window > DAY\n",
        "    return window >= DAY\n",
        "24 hours move in hops",
        "8:once",
    ),
    Mutant(
        "compute/algebra.py",
        'frozenset({"min", "first", "age"})',
        'frozenset({"max", "first", "age"})',
        "min is max",
        "0:once",
    ),
    Mutant(
        "compute/algebra.py",
        'frozenset({"min", "first", "age"})',
        'frozenset({"min", "age"})',
        "first is last",
        "16:once",
    ),
    Mutant(
        "compute/ordering.py",
        '(event_us + TIME_SHIFT).cast("string") + event_id',
        '(event_us + TIME_SHIFT).cast("string")',
        "ties of time are not broken by the event id",
        "8:once",
    ),
    Mutant(
        "compute/algebra.py", "_number(given & value)", "_number(given)", "every row is part of the share", "12:once"
    ),
    Mutant(
        "compute/algebra.py",
        "* measure.scale + 0.5)",
        "* measure.scale)",
        "scaled numbers are cut, not rounded",
        "18:once",
    ),
    Mutant(
        "compute/algebra.py",
        "    given = where & value.notnull()\n",
        "    given = where\n",
        "rows without a value count",
        "4:once",
    ),
    Mutant(
        "compute/algebra.py",
        "- (sx * sy).cast(WIDE)",
        "+ (sx * sy).cast(WIDE)",
        "the slope's term has the other sign",
        "9:once",
    ),
    Mutant("compute/algebra.py", "+ o * o * n)", "+ o * n)", "the squares of a moved slope miss a term", "17:once"),
    Mutant(
        "compute/algebra.py",
        "2 ** (-old / half_life)",
        "2 ** (-2 * old / half_life)",
        "the half-life is half of it",
        "4:once",
    ),
    Mutant(
        "compute/algebra.py",
        '_double(state["s"]) / _double(state["n"].nullif(0))',
        '_double(state["s"]) / _double((state["n"] + 1).nullif(0))',
        "the mean divides by one too many",
        "4:once",
    ),
    Mutant(
        "compute/algebra.py", '(t_us - state["v"]) //', '(t_us - state["v"] + 1) //', "time since, rounded up", "8:once"
    ),
    Mutant("compute/algebra.py", "typed_literal(empty, feature), value)", "value, value)", "no empty values", "4:once"),
    Mutant(
        "compute/expressions.py",
        "return operand(rows, expression).fill_null(False)",
        "return operand(rows, expression).fill_null(True)",
        "what cannot be told holds",
        "4:once",
    ),
    Mutant(
        "compute/expressions.py",
        'rest[0].cast("float64").nullif(0.0)',
        'rest[0].cast("float64")',
        "division by zero",
        "12:once",
    ),
    # As known then.
    Mutant(
        "compute/as_known.py",
        "_.order == _.highest",
        "_.order >= 0",
        "a lower revision wins when it comes later",
        "4:once",
    ),
    Mutant(
        "compute/as_known.py",
        "[_.known_from, _.file, _.position]",
        "[_.known_from, _.position, _.file]",
        "files do not count",
        "4:once",
    ),
    Mutant(
        "compute/as_known.py",
        "filter(~_.retracted, _.known_from",
        "filter(_.known_from",
        "a retracted fact stays",
        "4:once",
    ),
    # Nights.
    Mutant(
        "compute/nightly.py",
        "until_night=day_of(rows.known_until))",
        "until_night=day_of(rows.known_until) + 1)",
        "what went stays a night",
        "4:once",
    ),
    Mutant(
        "compute/nightly.py",
        "inside = rows.event_us > cutoff_us - windowing.micros_of(window)",
        "inside = rows.event_us >= cutoff_us - windowing.micros_of(window)",
        "the start of an exact window lies inside",
        "4:once",
    ),
    Mutant(
        "compute/nightly.py",
        "inside = today.filter(today.event_us > start)",
        "inside = today.filter(today.event_us >= start)",
        "so it does for who has a row",
        "15:once",
    ),
    Mutant(
        "compute/nightly.py",
        "leaves=((_.tile + 1 + longest) // a_day)",
        "leaves=((_.tile + longest) // a_day)",
        "a row is missing on the night on which the last fact left",
        "4:once",
    ),
    Mutant(
        "compute/nightly.py",
        "ibis.ifelse(spans.rows > 0, leaving, emptied)",
        "ibis.ifelse(spans.rows > 0, leaving, 0)",
        "no row where the last fact was taken back",
        "4:once",
    ),
    Mutant(
        "compute/nightly.py",
        "became_known.union(ceased).filter",
        "became_known.union(became_known).filter",
        "tiles that lost a fact stay",
        "4:once",
    ),
    Mutant(
        "compute/nightly.py",
        "inside.from_night + 1)",
        "inside.from_night)",
        "who left a short window has no row",
        "7:once",
    ),
    Mutant(
        "compute/night_reader.py",
        "        if links is not None:\n            seeds",
        "        if links is None:\n            seeds",
        "a new link changes no older tile",
        "9:daily",
    ),
    # Who.
    Mutant(
        "compute/identity.py",
        "(links.link_us <= version.event_us) | links.backwards",
        "(links.link_us < version.event_us) | links.backwards",
        "a link begins after its moment",
        "17:once",
    ),
    Mutant(
        "compute/identity.py",
        "known_links.target_key.max(where=before)",
        "known_links.target_key.min(where=before)",
        "the oldest link wins",
        "9:once",
    ),
    Mutant(
        "compute/identity.py",
        "known_links.target_key.min(where=~before)",
        "known_links.target_key.max(where=~before)",
        "the newest later link wins",
        "3:once",
    ),
    Mutant(
        "compute/identity.py",
        "ibis.coalesce(targets.newest, targets.oldest)",
        "ibis.coalesce(targets.oldest, targets.newest)",
        "a later link goes before an earlier one",
        "9:once",
    ),
    Mutant(
        "compute/identity.py",
        "links.backwards.fill_null(False)",
        "links.backwards.fill_null(True)",
        "every link is open backwards",
        "9:once",
    ),
    Mutant("compute/identity.py", "CHAIN = 2", "CHAIN = 1", "a merged account is not followed", "9:once"),
    # Any moment.
    Mutant(
        "compute/historical.py",
        "pc.subtract(t_us, micros_of(parse_duration(group.live_lag)))",
        "t_us",
        "no lag",
        "4:rows",
    ),
    Mutant(
        "compute/bands.py",
        "facts.event_us <= spine.t_us",
        "facts.event_us < spine.t_us",
        "the moment itself lies outside",
        "0:rows",
    ),
    Mutant(
        "compute/bands.py",
        "facts.known_from <= spine.known_us",
        "facts.known_from < spine.known_us",
        "what became known just then is not known",
        "4:rows",
    ),
    Mutant(
        "compute/bands.py",
        "spine.known_us < facts.known_until",
        "spine.known_us <= facts.known_until",
        "what went just then is still there",
        "8:rows",
    ),
    Mutant(
        "compute/bands.py",
        "return rows.event_us > rows.t_us - micros_of(window)",
        "return rows.event_us >= rows.t_us - micros_of(window)",
        "the start of an exact window lies inside",
        "0:rows",
    ),
    Mutant(
        "compute/cells.py",
        "known = bands.whole_lengths(spine.known_us + 1, self.length)",
        "known = bands.whole_lengths(spine.known_us, self.length) + 1",
        "a cell counts before all of it is known",
        "4:cells",
    ),
    Mutant(
        "compute/cells.py",
        '(rows[until] >= rows[f"{prefix}_until"])',
        '(rows[until] + 1 >= rows[f"{prefix}_until"])',
        "a cell counts in which facts ceased",
        "4:cells",
    ),
    Mutant(
        "compute/cells.py",
        'f"{prefix}_t": bands.whole_lengths(spine.t_us, self.length)',
        'f"{prefix}_t": bands.whole_lengths(spine.t_us, self.length) + 1',
        "a cell counts that is not over",
        "4:cells",
    ),
    Mutant(
        "compute/cells.py",
        "edges |= {micros_of(window) // length, -(-micros_of(window) // length)}",
        "edges |= {micros_of(window) // length}",
        "facts are missing at the tail",
        "0:cells",
    ),
    Mutant(
        "compute/cells.py",
        "outside = [settled_cells.cell < settled_cells.small_t + 1 -",
        "outside = [settled_cells.cell < settled_cells.small_t -",
        "a cell too many at the tail",
        "8:cells",
    ),
    Mutant(
        "compute/cells.py",
        "low=bands.count_true(outside) + exact",
        "low=bands.count_true(outside)",
        "large cells in exact windows",
        "4:cells",
    ),
    Mutant(
        "compute/bands.py",
        "(bands.high > lengths.index(window))",
        "(bands.high >= lengths.index(window))",
        "a band counts in one window too many",
        "8:cells",
    ),
    # The stream.
    Mutant("stream/local_store.py", "self._facts.mark_relinked()\n", "pass\n", "links do not speak", "9:stream"),
    Mutant(
        "stream/group_tables.py",
        'run(f"DELETE FROM tiles_{name} WHERE {cells}")',
        "pass",
        "a thawed cell counts twice",
        "0:stream",
    ),
    Mutant(
        "stream/group_tables.py",
        "due_us <= {log_us}",
        "due_us < {log_us}",
        "what is due just now is not",
        "8:stream",
    ),
    Mutant(
        "stream/departures.py",
        "[Departures(event_us, exact)]",
        "[Departures(event_us + 1, exact)]",
        "a fact leaves an exact window too late",
        "0:stream",
    ),
    Mutant(
        "stream/departures.py",
        "Departures((rows.tile + 1) * hop, long)",
        "Departures((rows.tile + 2) * hop, long)",
        "a fact leaves a window a hop too late",
        "4:stream",
    ),
    Mutant("stream/departures.py", "tick * hop + 1", "tick * hop + 2", "weights move too late", "4:stream"),
    Mutant(
        "stream/fact_tables.py", " AND k.content = a.content", "", "a revision is taken for a duplicate", "0:stream"
    ),
    Mutant(
        "stream/group_tables.py", "ORDER BY night DESC", "ORDER BY night", "old versions of tiles count", "4:stream"
    ),
    Mutant(
        "stream/live_values.py",
        "low=bands.count_true(outside) + len(exact)",
        "low=bands.count_true(outside)",
        "tiles count in exact windows",
        "4:stream",
    ),
)


def copy_of(mutant: Mutant | None, folder: Path) -> Path:
    """Copy ``features/``, changed or as it is, and ``rapport/``, by which a process stands in the rooms of the folder.

    Raises
    ------
    ValueError
        The old text does not stand there exactly once.
    """
    for room in ("features", "rapport"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        file = folder / "features" / mutant.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutant.old) != 1:
            raise ValueError(f"{mutant.file} says {mutant.old!r} {text.count(mutant.old)} times, not once")
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    return folder


def compared(folder: Path, *ways: str) -> subprocess.CompletedProcess[str]:
    """Compare the compiler of a folder with the oracle, in a process of its own."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "tests.property.killing", *ways],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
