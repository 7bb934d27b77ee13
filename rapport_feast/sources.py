"""Feast's file sources: where one lies, and whether it is a Delta table."""

from pathlib import Path

from feast import FileSource
from feast.data_format import DeltaFormat
from feast.data_source import DataSource

from rapport_feast.errors import Rejected


def path_of(source: DataSource, repo: Path | None) -> Path:
    """Return where a local file source lies."""
    if not isinstance(source, FileSource) or "://" in source.path:
        raise Rejected(f"source {source.name}", "a FileSource on this machine", type(source).__name__)
    return Path(FileSource.get_uri_for_file_path(repo, source.path))


def is_delta(source: DataSource) -> bool:
    """Return whether a source is a Delta table."""
    return isinstance(source.file_format, DeltaFormat)
