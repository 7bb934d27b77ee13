"""Airflow of one company, from outside: its home, its secrets, its processes and what its metadata says.

Airflow itself is imported by ``dags/`` only; here it runs as child processes.
"""

import base64
import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from sqlalchemy import Engine, create_engine, inspect, make_url, text

from infra.settings import ROOT
from infra.workspace import Workspace
from rapport.rooms import children_path
from rapport.stack.ports import LOOPBACK
from rapport_feast.errors import Terminal


def passthrough(ws: Workspace, arguments: Sequence[str]) -> NoReturn:
    """Become the Airflow command line on this company's home: ``rapport airflow dags list-runs nightly``."""
    home = AirflowHome(ws)
    home.prepare()
    os.execve(PYTHON[0], [*PYTHON, *arguments], home.environment(ws.settings.airflow_port))


PYTHON = [sys.executable, "-m", "airflow"]
ADMIN = "admin"
UNFINISHED = "('running', 'queued', 'scheduled', 'up_for_retry', 'up_for_reschedule', 'restarting')"


# Quick to react and quiet: one API worker, no second look at unchanged files, nothing sent home.
FIXED = {
    "AIRFLOW__API__HOST": LOOPBACK,
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__PARALLELISM": "3",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "180",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "dags=INFO infra=INFO validation=INFO features=INFO training=INFO",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class AirflowHome:
    """The Airflow of one company."""

    ws: Workspace

    @property
    def folder(self) -> Path:
        """Folder of its state."""
        return self.ws.folder("airflow")

    @cached_property
    def engine(self) -> Engine:
        """Its metadata database."""
        return create_engine(self.ws.metadata_url("airflow"))

    def environment(self, port: int, tasks_port: int = 0) -> dict[str, str]:
        """Return the environment of every Airflow process, with the ports of its API and of the tasks' part."""
        keys = self.secrets()
        return (
            dict(os.environ)
            | self.ws.environment()
            | FIXED
            | {
                "PYTHONPATH": children_path(),
                "PYTHONSAFEPATH": "1",  # a folder with a features.py of its own may be the working directory
                "AIRFLOW_HOME": str(self.folder),
                "AIRFLOW__API__PORT": str(port),
                "AIRFLOW__API__SECRET_KEY": keys["session"],
                "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt"],
                "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
                "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{LOOPBACK}:{tasks_port or port}/execution/",
                "AIRFLOW__CORE__FERNET_KEY": keys["fernet"],
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.passwords),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.ws.metadata_url("airflow"),
            }
        )

    @property
    def passwords(self) -> Path:
        """File with the password of each user of the UI."""
        return self.folder / "passwords.json"

    def secrets(self) -> dict[str, str]:
        """Return the keys of this home, made on first use and readable by their owner only."""
        if not self.passwords.exists():
            write_private(self.passwords, {ADMIN: secrets.token_urlsafe(16)})
        path = self.folder / "secrets.json"
        if not path.exists():
            fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            write_private(
                path, {"jwt": secrets.token_urlsafe(64), "session": secrets.token_urlsafe(32), "fernet": fernet}
            )
        return dict(json.loads(path.read_text()))

    def prepare(self) -> bool:
        """Migrate the database and read the DAGs into it, if anything of that changed; return whether it did.

        Raises
        ------
        Terminal
            The database cannot be migrated, or a DAG file cannot be imported.
        """
        stamp, state = self.folder / "prepared", self._state()
        if stamp.exists() and stamp.read_text() == state and self.exists():
            return False
        for command in (["db", "migrate"], ["dags", "reserialize"]):
            self.run(command)
        with self.engine.connect() as connection:
            errors = connection.execute(text("SELECT filename, stacktrace FROM import_error")).all()
        if errors:
            raise Terminal(f"{errors[0][0]} cannot be imported: {errors[0][1].strip().splitlines()[-1]}")
        stamp.write_text(state)
        return True

    def _state(self) -> str:
        """Return the digest of everything that the DAGs in the database were made from."""
        parts = [version("apache-airflow"), str(ROOT), self.ws.settings.company.read_text()]
        parts += [path.read_text() for path in sorted((ROOT / "dags").glob("*.py"))]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def exists(self) -> bool:
        """Return whether there is a migrated database."""
        url = make_url(self.ws.metadata_url("airflow"))
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return False
        return bool(inspect(self.engine).has_table("dag_run"))

    def run(self, arguments: list[str]) -> str:
        """Run an Airflow command to its end and return what it printed.

        Raises
        ------
        Terminal
            The command failed.
        """
        environment = self.environment(self.ws.settings.airflow_port)
        done = subprocess.run([*PYTHON, *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
            raise Terminal(f"airflow {' '.join(arguments)} ended with code {done.returncode}: {last}")
        return done.stdout

    def end_unfinished(self, *, schedule: bool) -> None:
        """Fail what a stack that is gone left unfinished, and hold the schedule back unless it is wanted.

        Only the owner of the lock may do this: nobody else works on these runs. The DAG processor puts the schedule
        back as soon as it runs again.
        """
        with self.engine.begin() as connection:
            for table in ("task_instance", "dag_run"):
                fail = f"UPDATE {table} SET state = 'failed', end_date = CURRENT_TIMESTAMP WHERE state IN {UNFINISHED}"
                connection.execute(text(fail))
            connection.execute(text("UPDATE backfill SET completed_at = CURRENT_TIMESTAMP WHERE completed_at IS NULL"))
            if not schedule:
                connection.execute(text("UPDATE dag SET next_dagrun_create_after = NULL"))


def write_private(path: Path, content: dict[str, str]) -> None:
    """Write JSON that only its owner may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file)
