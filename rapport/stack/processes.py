"""Child processes of the stack: each leads a session of its own, so stopping it takes all it started."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from rapport.stack.ports import answers
from rapport_feast.errors import Terminal

GRACE = 8.0
PAUSE = 0.1


class Processes:
    """A set of named child processes that start one by one and stop together.

    Parameters
    ----------
    logs
        Folder of their output, one ``<name>.log`` each.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process; its output goes to its log, from the beginning."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.record.write_text(json.dumps([process.pid for process in self.running.values()]))

    @property
    def record(self) -> Path:
        """File that names the sessions, for whoever comes after a kill."""
        return self.logs / "sessions.json"

    def end_stale(self) -> None:
        """Kill what a killed owner left running; the caller holds the lock, so nobody owns it any more."""
        if not self.record.exists():
            return
        written = self.record.stat().st_mtime
        sessions = {pid for pid in json.loads(self.record.read_text()) if not started_after(pid, written)}
        kill(sessions)
        self.record.unlink()

    def log(self, name: str) -> Path:
        """Return the log of a process."""
        return self.logs / f"{name}.log"

    def check(self) -> None:
        """Check that all of them still run.

        Raises
        ------
        Terminal
            One has ended.
        """
        for name, process in self.running.items():
            if process.poll() is not None:
                raise Terminal(f"{name} ended with code {process.returncode}; its log is {self.log(name)}.")

    def wait_for(self, name: str, url: str, seconds: float = 90.0) -> None:
        """Wait until a process answers at an address.

        Raises
        ------
        Terminal
            It ended first, or did not answer in time.
        """
        deadline = time.monotonic() + seconds
        while not answers(url):
            self.check()
            if time.monotonic() > deadline:
                raise Terminal(f"{name} did not answer within {seconds:.0f} s; its log is {self.log(name)}.")
            time.sleep(PAUSE)

    def stop(self) -> None:
        """Stop all of them with everything they started: asked first, killed after a while."""
        sessions = {process.pid for process in self.running.values()}
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and any(process.poll() is None for process in self.running.values()):
            time.sleep(PAUSE)
        kill(sessions)
        for process in self.running.values():
            process.wait()
        self.running.clear()
        self.record.unlink(missing_ok=True)


def session_members(sessions: set[int]) -> list[int]:
    """Return the live processes of some sessions: grandchildren too, whatever group they moved to."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(pid) in sessions and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def kill(sessions: set[int]) -> None:
    """Kill every process of some sessions."""
    for pid in session_members(sessions):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def started_after(pid: int, moment: float) -> bool:
    """Return whether a process of that number began after a moment: then it is another than the one meant."""
    try:
        return bool(psutil.Process(pid).create_time() > moment + 1)
    except psutil.NoSuchProcess:
        return False
