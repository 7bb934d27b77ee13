"""The event log on Kafka: ``kafka://host:port[,host:port]``, one topic of one partition per company.

A position is an offset and one. Kafka's own timestamps count milliseconds and are the appenders', so the microseconds
stand in a header, and the moment of acceptance is that of the header, or a microsecond behind the record before where
an appender's clock lags: it grows with every record, and follows from the log alone. At offset ``i`` it is ``i`` and
the highest ``header - offset`` so far, the *lead*. That of a part that was trimmed is kept with the offset of the trim.
Options of librdkafka may follow as a query: ``kafka://host:9093?security.protocol=ssl``.
"""

import time
from collections.abc import Iterator, Sequence
from threading import Lock
from urllib.parse import parse_qsl, urlsplit

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.clock import Clock
from infra.log.event_log import ANSWER_SECONDS, MAX_PAYLOAD_BYTES, SETTING, Entry, log_full, refuse_large_events
from infra.log.kafka_record import MOMENT, TICK, is_tick, lead_of, moment_of, offset_of, poll_records
from infra.log.kafka_topic import OVERHEAD_BYTES, POLL_SECONDS, ask_broker, broker_error, ensure_topic
from rapport_feast.errors import Rejected, Transient
from rapport_feast.times import micros

Settings = dict[str, str | int | float | bool]
WATERMARK_SECONDS = 1.0
FEW = 64


def kafka_log(url: str, company: str, clock: Clock, max_entries: int) -> "KafkaLog":
    """Return the log at a URL, its topic made if it is not there.

    Raises
    ------
    Rejected
        It is no such URL, an option is unknown, or the topic forgets or has several partitions.
    Transient
        No broker answers.
    """
    parts = urlsplit(url)
    if not parts.netloc:
        raise Rejected(SETTING, "a URL such as kafka://host:9092", "one without a host")
    settings: Settings = {"bootstrap.servers": parts.netloc, "log_level": 0, **dict(parse_qsl(parts.query))}
    topic = f"rapport.{company}.events"
    try:
        admin = AdminClient(settings | {"socket.timeout.ms": int(ANSWER_SECONDS * 1000)})
    except KafkaException as error:
        raise Rejected(SETTING, "options that librdkafka knows", error.args[0].str()) from None
    ensure_topic(admin, topic)
    return KafkaLog(settings, admin, topic, clock, max_entries)


class KafkaLog:
    """The one partition of a company's topic; groups commit as Kafka's consumer groups do.

    An append returns when all replicas in sync have it (``acks=all``). A broker answers before its disk has it: what
    keeps an entry then is that a broker which is killed loses nothing that the system's page cache holds, and, when a
    machine goes down, the other replicas. Give the topic three, and ``min.insync.replicas=2``, where that matters.
    """

    def __init__(self, settings: Settings, admin: AdminClient, topic: str, clock: Clock, max_entries: int) -> None:
        self._settings, self._admin, self._topic, self._clock = settings, admin, topic, clock
        self._max_entries, self._room, self._room_until = max_entries, 0, 0.0
        self._producer: Producer | None = None
        self._groups: dict[str, Consumer] = {}
        self._reader = self._consumer("reader")
        # A second one, for the answers to a reader's questions stand behind its own waiting fetch.
        self._scout = self._consumer("reader", fetch_ms=1)
        self._next, self._lead = -1, 0
        self._alone = Lock()

    def append(self, source: str, payloads: Sequence[bytes]) -> list[int]:
        """Append events of a source; returns their positions once all replicas in sync have them.

        Raises
        ------
        Rejected
            An event is larger than the log takes.
        Transient
            The broker does not answer, or the log holds all that it may.
        """
        if not payloads:
            return []
        refuse_large_events(payloads)
        self._refuse_full(len(payloads))
        return self._produced(source, payloads, micros(self._clock.now()))

    def read(self, after: int, count: int = 1000, wait_seconds: float = 0.0) -> list[Entry]:
        """Return up to ``count`` entries behind a position, waiting for the first if there is none."""
        with self._alone:
            low, high = self._ends()
            if self._next != max(after, low):
                self._seek(max(after, low))
            began = time.monotonic()
            while True:
                until = began + (wait_seconds if self._next >= high else ANSWER_SECONDS)
                entries = self._read(count, until - time.monotonic())
                if entries or (self._next >= high and time.monotonic() >= began + wait_seconds):
                    return entries
                if self._next < high and time.monotonic() >= until:
                    raise Transient("The event log on Kafka holds entries that it does not give.")

    def end(self) -> tuple[int, int] | None:
        """Return position and moment of the newest entry; None if the log holds none."""
        with self._alone:
            low, high = self._ends()
            while low < high:
                offsets = [offset_of(m) for m in self._scan(max(low, high - FEW), high) if not is_tick(m)]
                if offsets:
                    return offsets[-1] + 1, offsets[-1] + self._lead_before(offsets[-1] + 1)
                high -= FEW
            return None

    def since(self, accepted_us: int) -> int:
        """Return the position after which exactly the entries accepted later than a moment stand."""
        with self._alone:
            return self._since(accepted_us)

    def seal(self, through_us: int) -> None:
        """See to it that nothing is accepted at or before a moment any more: an empty record carries the next one."""
        with self._alone:
            high = self._ends()[1]
            if high - 1 + self._lead_before(high) > through_us:
                return
        self._produced(TICK, [b""], through_us + 1, tick=True)

    def trim(self, before_us: int) -> int:
        """Drop the entries accepted before a moment, none that a group has not committed; returns how many went."""
        with self._alone:
            low, _ = self._ends()
            first = min([self._since(before_us - 1), *(self.committed(group) for group in self._known_groups())])
            if first <= low:
                return 0
            # Both floors: whoever reads before the records go still finds the old one.
            self._note_floors({low: self._floor(low), first: self._lead_before(first)})
            ask_broker(lambda: self._admin.delete_records([self._at(first)])[self._at(first)].result(ANSWER_SECONDS))
            return first - low

    def length(self) -> int:
        """Return how many entries the log holds, seals counted."""
        with self._alone:
            low, high = self._ends()
        return high - low

    def commit(self, group: str, position: int) -> None:
        """Note how far a group has applied the log; never falls."""
        if position > self.committed(group):
            member = self._member(group)
            ask_broker(lambda: member.commit(offsets=[self._at(position)], asynchronous=False))

    def committed(self, group: str) -> int:
        """Return how far a group has applied the log; 0 if it never said."""
        return max(self._noted(group).offset, 0)

    def lag(self, group: str) -> int:
        """Return how many entries a group has not committed."""
        position = self.committed(group)
        with self._alone:
            low, high = self._ends()
            behind = high - max(position, low)
            if 0 < behind <= FEW:  # a seal is nobody's to apply
                behind = sum(not is_tick(message) for message in self._scan(high - behind, high))
            return max(behind, 0)

    def forget(self, group: str) -> None:
        """Drop a group, which then holds no entry back any more."""
        if (member := self._groups.pop(group, None)) is not None:
            member.close()
        name = self._group_id(group)
        try:
            self._admin.delete_consumer_groups([name])[name].result(ANSWER_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise broker_error(error) from error

    def close(self) -> None:
        """Leave the log."""
        for consumer in (self._reader, self._scout, *self._groups.values()):
            consumer.close()

    def _produced(self, source: str, payloads: Sequence[bytes], us: int, *, tick: bool = False) -> list[int]:
        done: list[int] = []
        faults: list[KafkaError] = []

        def delivered(fault: KafkaError | None, message: Message) -> None:
            if fault is None:
                done.append(offset_of(message) + 1)
            else:
                faults.append(fault)

        producer, deadline = self._own_producer(), time.monotonic() + ANSWER_SECONDS
        headers: list[tuple[str, str | bytes | None]] = [(MOMENT, str(us)), *([(TICK, "1")] if tick else [])]
        for payload in payloads:
            while time.monotonic() < deadline:
                try:
                    producer.produce(self._topic, payload, source, 0, delivered, timestamp=us // 1000, headers=headers)
                    break
                except BufferError:
                    producer.poll(POLL_SECONDS)
        while len(done) < len(payloads) and not faults and time.monotonic() < deadline:
            producer.poll(POLL_SECONDS)
        if len(done) == len(payloads):
            return sorted(done)
        self._producer = None  # what it still holds is nobody's any more
        producer.purge()
        told = faults[0].str() if faults else "no answer in time"
        raise Transient(f"The event log on Kafka did not take the events ({told}).")

    def _own_producer(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(
                self._settings
                | {
                    "acks": "all",
                    "enable.idempotence": True,
                    "linger.ms": 0,
                    "message.max.bytes": MAX_PAYLOAD_BYTES + OVERHEAD_BYTES,
                    "message.timeout.ms": int(ANSWER_SECONDS * 900),
                }
            )
        return self._producer

    def _refuse_full(self, coming: int) -> None:
        """Refuse more entries than the log may hold; the broker is asked once a second."""
        if time.monotonic() > self._room_until:
            with self._alone:
                low, high = self._ends()
            self._room, self._room_until = self._max_entries - (high - low), time.monotonic() + WATERMARK_SECONDS
        if coming > self._room:
            raise log_full(self._max_entries)
        self._room -= coming

    def _consumer(self, group: str, fetch_ms: int = 100) -> Consumer:
        return Consumer(
            self._settings
            | {
                "group.id": self._group_id(group),
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": fetch_ms,
                "socket.timeout.ms": int(ANSWER_SECONDS * 1000),
            }
        )

    def _group_id(self, group: str) -> str:
        return f"{self._topic}:{group}"

    def _known_groups(self) -> list[str]:
        found = ask_broker(lambda: self._admin.list_consumer_groups().result(ANSWER_SECONDS)).valid
        names = [group.group_id.partition(":")[2] for group in found if group.group_id.startswith(f"{self._topic}:")]
        return [name for name in names if name not in ("reader", "floor")]

    def _member(self, group: str) -> Consumer:
        if group not in self._groups:
            self._groups[group] = self._consumer(group)
        return self._groups[group]

    def _noted(self, group: str) -> TopicPartition:
        member = self._member(group)
        (found,) = ask_broker(lambda: member.committed([self._at(0)], timeout=ANSWER_SECONDS))
        return found

    def _at(self, offset: int) -> TopicPartition:
        return TopicPartition(self._topic, 0, offset)

    def _ends(self) -> tuple[int, int]:
        """Return the first offset that is there and the one behind the last."""
        found = ask_broker(lambda: self._scout.get_watermark_offsets(self._at(0), timeout=ANSWER_SECONDS))
        if found is None:
            raise Transient("The event log on Kafka does not answer (no answer in time).")
        return found

    def _seek(self, offset: int) -> None:
        self._lead = self._lead_before(offset)
        self._reader.assign([self._at(offset)])
        self._next = offset

    def _read(self, count: int, seconds: float) -> list[Entry]:
        try:
            return [
                entry
                for message in poll_records(self._reader, count, seconds)
                if (entry := self._applied(message)) is not None
            ]
        except Transient:
            self._next = -1  # it has to find its place again
            raise

    def _applied(self, message: Message) -> Entry | None:
        offset = offset_of(message)
        self._lead, self._next = max(self._lead, lead_of(message)), offset + 1
        if is_tick(message):
            return None
        key, value = message.key(), message.value()
        source = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key or "")
        return Entry(self._next, offset + self._lead, source, value if isinstance(value, bytes) else b"")

    def _scan(self, first: int, behind: int) -> Iterator[Message]:
        """Yield the records of some offsets."""
        if first >= behind:
            return
        self._scout.assign([self._at(first)])
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            while first < behind:
                for message in poll_records(self._scout, behind - first, deadline - time.monotonic()):
                    first = offset_of(message) + 1
                    if first <= behind:
                        yield message
                if time.monotonic() >= deadline:
                    raise Transient("The event log on Kafka holds entries that it does not give.")
        finally:
            self._scout.unassign()

    def _first_of(self, ms: int, high: int) -> int:
        """Return the first offset with Kafka's own timestamp from a millisecond on."""
        (found,) = ask_broker(lambda: self._scout.offsets_for_times([self._at(ms)], timeout=ANSWER_SECONDS))
        return found.offset if found.offset >= 0 else high

    def _since(self, accepted_us: int) -> int:
        low, high = self._ends()
        # What lies before it lags by more than all the records there are could make good.
        first = max(self._first_of(max((accepted_us - (high - low)) // 1000, 0), high), low)
        lead = self._lead_before(first)
        for message in self._scan(first, high):
            lead = max(lead, lead_of(message))
            if offset_of(message) + lead > accepted_us:
                return offset_of(message)
        return high

    def _lead_before(self, offset: int) -> int:
        """Return the lead of the records before an offset.

        It belongs to a record whose timestamp lies behind that of the last one by no more microseconds than there are
        records in between, so nothing older has to be read.
        """
        low, high = self._ends()
        if offset <= low or low == high:
            return self._floor(low)
        last = next(self._scan(offset - 1, offset))
        first = max(self._first_of(max((moment_of(last) - (offset - low)) // 1000, 0), high), low)
        return max([self._floor(low), *map(lead_of, self._scan(min(first, offset - 1), offset))])

    def _floor(self, low: int) -> int:
        """Return the lead of what was trimmed."""
        if low == 0:
            return 0
        floors = (pair.split(":") for pair in (self._noted("floor").metadata or "").split(",") if pair)
        return max((int(lead) for offset, lead in floors if int(offset) <= low), default=0)

    def _note_floors(self, floors: dict[int, int]) -> None:
        told = ",".join(f"{offset}:{lead}" for offset, lead in sorted(floors.items()))
        note = TopicPartition(self._topic, 0, max(floors), told)
        ask_broker(lambda: self._member("floor").commit(offsets=[note], asynchronous=False))
