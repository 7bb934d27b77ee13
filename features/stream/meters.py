"""What the stream tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class StreamMetrics:
    """What the runner tells Prometheus."""

    def __init__(self) -> None:
        to = self.registry = CollectorRegistry()
        self.lag = Gauge("rapport_stream_lag_entries", "Entries of the log that are not applied.", registry=to)
        self.behind = Gauge("rapport_stream_lag_seconds", "How far log time lies behind the clock.", registry=to)
        self.entries = Counter("rapport_stream_entries", "Entries read.", registry=to)
        self.facts = Counter("rapport_stream_facts", "Facts that were new.", registry=to)
        self.poison = Counter("rapport_stream_poison", "Entries that the door refused.", ["reason"], registry=to)
        self.rows = Counter("rapport_stream_rows", "Live rows online as computed.", ["view"], registry=to)
        self.kept_out = Counter(
            "rapport_stream_kept_out", "Live rows that something newer online kept out.", ["view"], registry=to
        )
        self.waits = Counter("rapport_stream_waits", "Times that the log or the store was silent.", registry=to)
        self.hand_overs = Counter("rapport_stream_hand_overs", "Nights taken over.", registry=to)
