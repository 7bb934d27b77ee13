"""What every task of the ring shares: which company it works for, which night its run is, which faults to try again."""

from collections.abc import Callable
from datetime import date, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from infra.clock import parse_night
from infra.company.load import load_company
from infra.private import keep_private
from infra.settings import Settings
from infra.telemetry import Log, configure
from rapport_feast.errors import Rejected, Terminal

if TYPE_CHECKING:
    from infra.workspace import Workspace

LOG = Log(__name__)

COMPANY = load_company(Settings().company)
OWNER = "rapport"
SETTINGS: dict[str, Any] = {
    "catchup": False,
    "max_active_runs": 1,
    "default_args": {"owner": OWNER, "retries": 1, "retry_delay": timedelta(seconds=5)},
}


def step(function: Callable[..., Any]) -> Any:
    """Make a function a task: a fault that no second try mends fails it at once, any other gets one more try."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        configure(Settings())
        keep_private()
        try:
            with LOG.step("step", step=function.__name__):
                return function(*args, **kwargs)
        except (Rejected, Terminal) as error:
            raise AirflowFailException(str(error)) from error

    return task(multiple_outputs=False)(run)


def workspace() -> "Workspace":
    """Open the workspace that the environment names."""
    from infra.workspace import open_workspace

    return open_workspace()


def night() -> date:
    """Return the night of the current run: its partition key.

    Raises
    ------
    Rejected
        The run was triggered without a key, or with one that is no day.
    """
    key = get_current_context().get("partition_key")
    if not key:
        raise Rejected(
            "partition_key", "the night as YYYY-MM-DD", "none", "Trigger the run again with a partition key."
        )
    return parse_night(key)


def run_id() -> str:
    """Return the id of the current run."""
    return str(get_current_context()["run_id"])
