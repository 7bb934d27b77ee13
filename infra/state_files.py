"""Files of the state: JSON that is replaced in one step, and a file's digest."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step, so that a reader sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as staged:
        json.dump(content, staged, indent=2, default=str)
    os.chmod(staged.name, 0o644)
    os.replace(staged.name, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file, None if there is none."""
    return json.loads(path.read_bytes()) if path.exists() else None
