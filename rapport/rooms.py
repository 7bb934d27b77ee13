"""The rooms (``features``, ``training``, ...) on the path of Rapport's own processes, and of no others.

What is installed makes only ``rapport`` and ``rapport_feast`` importable, because the rooms have common names that
belong to whoever uses them. The command line enters by itself; a notebook says ``rapport.rooms.enter()`` first.
"""

import os
import sys
from pathlib import Path

from rapport_feast.errors import Rejected

ROOMS = ("infra", "validation", "features", "training", "serving", "dags")


def home() -> Path:
    """Return the folder that holds the rooms: ``_rooms`` beside this file in a wheel, else the checkout."""
    here = Path(__file__).resolve().parent
    packed = here / "_rooms"
    return packed if packed.is_dir() else here.parent


def enter() -> None:
    """Put the rooms first on the path of this process and of its children; a second time changes nothing.

    Raises
    ------
    Rejected
        This process has imported somebody else's module under the name of a room.
    """
    folder = home()
    for room in ROOMS:
        module = sys.modules.get(room)
        places = list(getattr(module, "__path__", ())) or [getattr(module, "__file__", None) or ""]
        if module is not None and not any(Path(place).resolve() == folder / room for place in places):
            raise Rejected(f"module {room}", "the room of Rapport", places[0], "Enter the rooms before it is imported.")
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(folder))]
    os.environ["PYTHONPATH"] = children_path()


def children_path() -> str:
    """Return the ``PYTHONPATH`` with which a child process stands in the rooms too."""
    folder = str(home())
    rest = (path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != folder)
    return os.pathsep.join([folder, *rest])
