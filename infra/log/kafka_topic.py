"""A company's topic on Kafka: one partition that forgets nothing, and a broker that is asked with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # type: ignore[attr-defined]

from infra.log.event_log import ANSWER_SECONDS, MAX_PAYLOAD_BYTES
from rapport_feast.errors import Rejected, Transient

T = TypeVar("T")
OVERHEAD_BYTES = 4096
POLL_SECONDS = 0.05


# What a broker answers until the one partition of a new topic has a leader.
LEADERLESS = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)
TOPIC = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "cleanup.policy": "delete",
    "max.message.bytes": str(MAX_PAYLOAD_BYTES + OVERHEAD_BYTES),
    # The moments are those of the company's clock, which may be that of a simulated day.
    "message.timestamp.after.max.ms": str(2**63 - 1),
}


def ensure_topic(admin: AdminClient, topic: str) -> None:
    """Make the topic if it is not there, and refuse one that would lose or reorder entries."""
    known = ask_broker(lambda: admin.list_topics(timeout=ANSWER_SECONDS)).topics
    if topic not in known:
        made = admin.create_topics([NewTopic(topic, num_partitions=1, config=TOPIC)], operation_timeout=ANSWER_SECONDS)
        try:
            made[topic].result(ANSWER_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise broker_error(error) from error
        return
    if len(known[topic].partitions) != 1:
        raise Rejected(f"topic {topic}", "one partition, for one order", str(len(known[topic].partitions)))
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    found = ask_broker(lambda: admin.describe_configs([resource])[resource].result(ANSWER_SECONDS))
    for name in ("retention.ms", "retention.bytes", "cleanup.policy"):
        if found[name].value != TOPIC[name]:
            remedy = "Rapport drops what a published night holds; nobody else may."
            raise Rejected(f"topic {topic}, {name}", TOPIC[name], found[name].value, remedy)


def ask_broker(call: Callable[[], T]) -> T:
    """Return what a call gives, waiting for a partition's leader to be elected; a silent broker is ``Transient``."""
    until = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return call()
        except (KafkaException, TimeoutError) as error:
            if not _without_leader(error) or time.monotonic() > until:
                raise broker_error(error) from error
        time.sleep(POLL_SECONDS)


def _without_leader(error: Exception) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in LEADERLESS


def broker_error(error: Exception) -> Transient:
    """Return the error of a broker that does not do what it is asked."""
    told = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
    return Transient(f"The event log on Kafka does not answer ({told}).")
