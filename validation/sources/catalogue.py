"""The adapters by the name that a company file gives them: ours, and the files of a company's ``adapters/``."""

from collections.abc import Mapping
from types import MappingProxyType

from infra.company.python_file import declared
from infra.company.source import LOG, Source
from rapport_feast.errors import Rejected
from validation.sources.files import Csv, Jsonl, Parquet
from validation.sources.log import Log
from validation.sources.online_retail import OnlineRetail
from validation.sources.protocol import Adapter
from validation.sources.servicenow import ServiceNow
from validation.sources.star import Star

ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        "csv": Csv(),
        "jsonl": Jsonl(),
        "parquet": Parquet(),
        LOG: Log(),
        "servicenow": ServiceNow(),
        "online_retail": OnlineRetail(),
        "star": Star(),
    }
)


def adapter(source: Source) -> Adapter:
    """Return the adapter of a source.

    Raises
    ------
    Rejected
        No adapter has that name.
    """
    own = {one.name: one for one in source.folder.of("adapters")} if source.folder else {}
    if source.adapter in own:
        found: Adapter = declared(own[source.adapter], "ADAPTER")
        return found
    if source.adapter not in ADAPTERS:
        there = ", ".join((*ADAPTERS, *own))
        raise Rejected(f"source {source.name}, adapter", f"one of {there}", repr(source.adapter))
    return ADAPTERS[source.adapter]
