"""The event log of the settings: embedded, Redis or Kafka by URL."""

from collections.abc import Iterator
from contextlib import contextmanager

from infra.log.event_log import MAX_ENTRIES, EventLog
from infra.log.redis_log import RedisLog, embedded_client, redis_log
from infra.redis.embedded import embedded_server
from infra.workspace import Workspace


@contextmanager
def event_log(ws: Workspace, *, max_entries: int = MAX_ENTRIES) -> Iterator[EventLog]:
    """Join the event log of the settings, or start or join the embedded one; the last one out shuts that down.

    Raises
    ------
    Rejected
        ``RAPPORT_LOG_URL`` is no address of a log, or the server there does not keep what it accepts.
    Transient
        The server does not answer in time.
    Terminal
        The embedded server does not run on this machine.
    """
    url = ws.settings.log_url
    if url is None:
        with embedded_server(ws.folder("log"), appendfsync="always") as address:
            yield from _joined(RedisLog(embedded_client(address), ws.company.name, ws.clock, max_entries))
    elif url.startswith("kafka://"):
        from infra.log.kafka_log import kafka_log  # librdkafka comes with it

        yield from _joined(kafka_log(url, ws.company.name, ws.clock, max_entries))
    else:
        yield from _joined(redis_log(url, ws.company.name, ws.clock, max_entries))


def _joined(log: EventLog) -> Iterator[EventLog]:
    try:
        yield log
    finally:
        log.close()
