"""Writing a JSON file whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file, whole or not at all; what is in an order stays in it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
    fresh.replace(path)
