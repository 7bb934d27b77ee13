"""``make bench [ONLY=name]``: run the benches, record their figures, and fail where a bar does not hold."""

import sys
import tempfile
from importlib import import_module
from pathlib import Path

from tests.load.bench import PAGE, record

BENCHES = {
    "point-in-time": "tests.load.point_in_time",
    "windows": "tests.load.windows",
    "hot-key": "tests.load.hot_key",
    "night": "tests.load.night",
    "lookup": "tests.load.lookup",
    "publish": "tests.load.publish",
    "stream": "tests.load.stream",
}


def main(names: list[str]) -> int:
    """Run the named benches, or all."""
    if unknown := [name for name in names if name not in BENCHES]:
        print(f"make bench: expected ONLY to be one of {', '.join(BENCHES)}, found {unknown[0]}")
        return 2
    failed = False
    for name in names or BENCHES:
        with tempfile.TemporaryDirectory(prefix="rapport-bench-") as folder:
            entries = import_module(BENCHES[name]).run(Path(folder))
        record(entries)
        for entry in entries:
            verdict = "holds" if entry.holds else "FAILS"
            print(
                f"{verdict}  {entry.name}: {entry.ours} {entry.unit} against {entry.peer}, {entry.ratio} <= {entry.bar}"
            )
            failed = failed or not entry.holds
    print(f"The table is in {PAGE}.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
