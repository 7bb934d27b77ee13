"""A real Kafka broker for tests: one KRaft node from the jars that Maven brings, on a free port of the loopback.

The jars are kept under the user's cache folder. Without Maven or Java the tests that need it are skipped; with CI=true
that is a failure (``tests/rows.py``).
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.redis.address import free_port

KAFKA, SCALA, LOG4J = "4.1.1", "2.13", "2.25.2"
START_SECONDS = 60.0
POM = f"""<project><modelVersion>4.0.0</modelVersion>
<groupId>rapport</groupId><artifactId>broker</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_{SCALA}</artifactId><version>{KAFKA}</version>
</dependency><dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
<version>{LOG4J}</version></dependency></dependencies></project>"""
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""


def jars() -> Path:
    """Return the folder of the broker's jars, brought by Maven once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "rapport" / f"kafka-{KAFKA}"
    if folder.is_dir():
        return folder
    if shutil.which("mvn") is None:
        pytest.skip("Kafka's jars are brought by Maven, and there is no mvn")
    work = folder.with_name(f"{folder.name}.{uuid4().hex}")
    work.mkdir(parents=True)
    (work / "pom.xml").write_text(POM, encoding="utf-8")
    command = ["mvn", "-q", "-B", "-f", str(work / "pom.xml"), "dependency:copy-dependencies", "-DoutputDirectory=jars"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout[-2000:]
    try:
        (work / "jars").rename(folder)
    except OSError:  # another process was faster
        assert folder.is_dir()
    shutil.rmtree(work)
    return folder


class Broker:
    """One node, which may be killed and started again on the same port and files."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("java") is None:
            pytest.skip("a Kafka broker needs Java, and there is no java")
        self.folder, self.port = folder, free_port()
        self.classes = f"{jars()}/*"
        self.process: subprocess.Popen[bytes] | None = None
        text = PROPERTIES.format(port=self.port, controller=free_port(), folder=folder)
        (folder / "server.properties").write_text(text, encoding="utf-8")
        self._java("kafka.tools.StorageTool", "format", "-t", "cmFwcG9ydHJhcHBvcnRyYQ", "-c").wait(START_SECONDS)

    @property
    def url(self) -> str:
        """The address as ``RAPPORT_LOG_URL`` takes it."""
        return f"kafka://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the node and wait until it answers."""
        self.process = self._java("kafka.Kafka")
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0})
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
                assert time.monotonic() < deadline, "the broker does not answer"

    def kill(self) -> None:
        """Kill the node (SIGKILL)."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _java(self, *command: str) -> subprocess.Popen[bytes]:
        options = ["-Xmx512m", "-Xms256m", "-XX:TieredStopAtLevel=1", "-cp", self.classes]
        with (self.folder / "server.log").open("ab") as out:
            return subprocess.Popen(
                ["java", *options, *command, self.folder / "server.properties"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory):
    """Return a running broker."""
    node = Broker(tmp_path_factory.mktemp("kafka"))
    try:
        node.start()
        yield node
    finally:
        node.kill()
