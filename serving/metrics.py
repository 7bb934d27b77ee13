"""What the service counts, told at ``/metrics`` in Prometheus' text form; counting costs a request next to nothing."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
Gauges = Callable[[], dict[str, tuple[str, float]]]


class ServiceMetrics(Collector):
    """Counters of one service.

    Attributes
    ----------
    requests
        (path, status) = how many.
    rungs
        Rung = how many values came from it.
    faults
        Reason = how many rows were not taken for it: what is wrong, not what is merely missing or old.
    gauges
        Gives name = (help, value) of what is read at the moment.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.rungs: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.discarded: Counter[str] = Counter()
        self.degraded = 0
        self.gauges: Gauges = dict
        self._buckets: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count an answer and how long it took."""
        self.requests[path, status] += 1
        buckets = self._buckets.get(path)
        if buckets is None:
            buckets = self._buckets[path] = [0] * (len(LATENCY_BUCKETS) + 1)
        buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self._seconds[path] += seconds  # type: ignore[assignment]

    def text(self) -> bytes:
        """Return everything in Prometheus' text form."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterable[Metric]:
        """Yield the counters as metrics."""
        requests = CounterMetricFamily("rapport_requests", "Answers.", labels=["path", "status"])
        for (path, status), count in self.requests.items():
            requests.add_metric([path, str(status)], count)
        yield requests
        latency = HistogramMetricFamily("rapport_answer_seconds", "How long answers took.", labels=["path"])
        for path, buckets in self._buckets.items():
            ends = [*map(str, LATENCY_BUCKETS), "+Inf"]
            sums = [sum(buckets[: place + 1]) for place in range(len(buckets))]
            latency.add_metric([path], list(zip(ends, sums, strict=True)), self._seconds[path])
        yield latency
        yield from (
            _counter("rapport_values", "Values that were served, by rung.", "rung", self.rungs),
            _counter("rapport_faults", "Rows and reads that could not be used, by reason.", "reason", self.faults),
            _counter("rapport_connections_discarded", "Connections thrown away.", "cause", self.discarded),
        )
        yield CounterMetricFamily(
            "rapport_degraded", "Answers with a value that fell for a fault or for age.", value=self.degraded
        )
        for name, (meaning, value) in self.gauges().items():
            yield GaugeMetricFamily(f"rapport_{name}", meaning, value=value)


def _counter(name: str, meaning: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, meaning, labels=[label])
    for word, count in counts.items():
        family.add_metric([word], count)
    return family
