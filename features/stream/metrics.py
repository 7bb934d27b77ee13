"""Metrics of the stream, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class StreamMetrics:
    """The runner's gauges and counters, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.lag = Gauge("rapport_stream_lag_entries", "Entries of the log that are not applied.", registry=registry)
        self.behind = Gauge("rapport_stream_lag_seconds", "How far log time lies behind the clock.", registry=registry)
        self.entries = Counter("rapport_stream_entries", "Entries read.", registry=registry)
        self.facts = Counter("rapport_stream_facts", "Facts that were new.", registry=registry)
        self.poison = Counter("rapport_stream_poison", "Entries that the door refused.", ["reason"], registry=registry)
        self.rows = Counter("rapport_stream_rows", "Live rows online as computed.", ["view"], registry=registry)
        self.kept_out = Counter(
            "rapport_stream_kept_out", "Live rows that something newer online kept out.", ["view"], registry=registry
        )
        self.waits = Counter("rapport_stream_waits", "Times that the log or the store was silent.", registry=registry)
        self.hand_overs = Counter("rapport_stream_hand_overs", "Nights taken over.", registry=registry)
