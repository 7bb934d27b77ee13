"""The stack's processes: a taken port is one sentence, a stop takes grandchildren too, secrets are private."""

import os
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.workspace import Workspace
from rapport.stack.airflow_home import AirflowHome
from rapport.stack.ownership import owner_lock, running_stack
from rapport.stack.ports import LOOPBACK, free_port, refuse_taken_port
from rapport.stack.processes import Processes, session_members
from rapport_feast.errors import Rejected, Terminal

# A process that moves to a group of its own, as Airflow's tasks do, and will not hear of SIGTERM.
STUBBORN = "import os, signal, time; os.setpgid(0, 0); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STUBBORN!r}])"


def test_taken_port_is_one_sentence_with_its_remedy() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Rejected, match=rf"port {port}.*taken.*RAPPORT_AIRFLOW_PORT"):
            refuse_taken_port(port, "Airflow", "RAPPORT_AIRFLOW_PORT")
    refuse_taken_port(free_port(), "Airflow", "RAPPORT_AIRFLOW_PORT")


def test_stop_takes_grandchildren_that_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rapport.stack.processes.GRACE", 0.5)
    processes = Processes(tmp_path)
    processes.start("parent", [sys.executable, "-c", PARENT], os.environ)
    sessions = {processes.running["parent"].pid}
    deadline = time.monotonic() + 10
    while len(session_members(sessions)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(session_members(sessions)) == 2
    time.sleep(0.3)
    processes.stop()
    time.sleep(0.1)
    assert not session_members(sessions)


def test_what_a_killed_owner_left_is_ended(tmp_path: Path) -> None:
    killed = Processes(tmp_path)
    killed.start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
    child = killed.running["sleeper"]
    Processes(tmp_path).end_stale()
    assert child.wait(5) == -9
    assert not killed.record.exists()


def test_a_process_that_ends_is_noticed_with_its_log(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.start("short", [sys.executable, "-c", "raise SystemExit(3)"], os.environ)
    with pytest.raises(Terminal, match=r"short ended with code 3.*short\.log"):
        processes.wait_for("short", f"http://{LOOPBACK}:{free_port()}/health", 10)
    processes.stop()


def test_secrets_are_made_once_for_each_home_and_private(company: Callable[..., Workspace]) -> None:
    home = AirflowHome(company())
    first = home.environment(8080)
    assert first == home.environment(8080)
    assert len(first["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64
    for file in (home.passwords, home.folder / "secrets.json"):
        assert stat.S_IMODE(file.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR


def test_a_second_owner_joins_unless_the_settings_differ(company: Callable[..., Workspace]) -> None:
    ws = company()
    with owner_lock(ws, 1234) as ours:
        assert ours
        with owner_lock(ws, 5678) as second:
            assert not second
            assert running_stack(ws).port == 1234
        other = Workspace(ws.settings.model_copy(update={"engine": "spark"}), ws.company)
        with pytest.raises(Rejected, match="RAPPORT_ENGINE"):
            running_stack(other)
    assert not (ws.folder("airflow") / "stack.json").exists()
