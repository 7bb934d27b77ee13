"""Telemetry: what each step does, one line an event, by the standard library's logging; nothing about a person.

An event is a fixed text with fields, and only those of ``FIELDS`` exist: counts, tables, nights, durations, causes.
There is no field for an id, a text or an address, so none can be logged.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any, Final, TextIO

from infra.settings import LogFormat, LogLevel, Settings

ROOT: Final = "rapport"
"""Above every logger of ours; what libraries log has other names and never reaches our handler."""
PLUG_INS: Final = "rapport_feast"
"""The Feast plug-ins work alone, so they log by the standard library only."""

FIELDS: Final = frozenset(
    {
        *("nights", "night", "run", "step", "seconds", "engine", "company", "state", "cause", "field", "attempt"),
        *("table", "fact", "group", "view", "source", "label", "model", "version", "metric", "report", "process"),
        *("rows", "rejected", "entries", "entities", "keys", "files", "features", "requests", "tables", "models"),
        *("host", "port", "rung", "lag_seconds", "positions", "checked", "differences", "verdict", "drifted", "share"),
        *("duplicates", "late", "skipped", "refused", "batches", "changed", "workers", "spooled"),
    }
)
LONGEST: Final = 200

Value = str | int | float | bool | date | None


class UnknownField(ValueError):
    """A log line has a field that ``FIELDS`` does not name: whoever adds it there decides that it is not personal."""


class Log:
    """The log of a module.

    Parameters
    ----------
    name
        Name of the module, as ``__name__`` says it.

    Examples
    --------
    >>> lines = logging.getLogger("rapport.examples")
    >>> lines.addHandler(handler := handler_of("plain", sys.stdout))
    >>> lines.setLevel("INFO")
    >>> Log("examples").info("built", table="gold/orders", rows=12)  # doctest: +ELLIPSIS
    20... info    examples: built table=gold/orders rows=12
    >>> lines.removeHandler(handler)
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"{ROOT}.{name}")

    def debug(self, event: str, **fields: object) -> None:
        """Log what only somebody who looks for a fault wants to read."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log what went as it should."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log what went otherwise, where the work goes on."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log what failed."""
        self._log(logging.ERROR, event, fields)

    @contextmanager
    def step(self, event: str, **fields: object) -> Iterator[dict[str, object]]:
        """Log the end of a block: with the seconds that it took, or with the cause of its failure.

        Yields
        ------
        dict
            More fields of the line, to be filled by the block.
        """
        began, more = time.monotonic(), dict(fields)
        try:
            yield more
        except BaseException as error:
            self.error(f"{event} failed", **more, **cause_of(error), seconds=_since(began))
            raise
        self.info(event, **more, seconds=_since(began))

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        if unknown := sorted(fields.keys() - FIELDS):
            raise UnknownField(
                f"{unknown[0]} is no field of a log line: add it to infra.telemetry.FIELDS if it is safe."
            )
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": {name: _plain(value) for name, value in fields.items()}})


def configure(settings: Settings, *, default: LogLevel = "info", stream: TextIO | None = None) -> None:
    """Let this process log as the settings say, to stderr; called once, where a process begins.

    Parameters
    ----------
    settings
        ``RAPPORT_LOG_FORMAT`` and ``RAPPORT_LOG_LEVEL``.
    default
        The level where the settings name none.
    stream
        Where the lines go instead.
    """
    handler = handler_of(settings.log_format, stream)
    for name in (ROOT, PLUG_INS):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel((settings.log_level or default).upper())
        # A library that gives the root logger a handler would print every line again.
        logger.propagate = False


def handler_of(form: LogFormat, stream: TextIO | None = None) -> logging.Handler:
    """Return a handler that writes lines of a form, by default to stderr."""
    handler = logging.StreamHandler(stream) if stream else _StderrHandler()
    handler.setFormatter(JsonLines() if form == "json" else PlainLines())
    return handler


class _StderrHandler(logging.Handler):
    """Writes to whatever stderr is at that moment: Airflow and tests put another in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")
        sys.stderr.flush()


class PlainLines(logging.Formatter):
    """A line for people: moment, level, module, event, ``field=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event."""
        told = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        return f"{_moment(record)} {record.levelname.lower():7} {_module(record)}: {record.getMessage()}{told}"


class JsonLines(logging.Formatter):
    """A line for machines: one JSON object with ``at``, ``level``, ``module``, ``event`` and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event."""
        head = {"at": _moment(record), "level": record.levelname.lower(), "module": _module(record)}
        return json.dumps({**head, "event": record.getMessage(), **_fields(record)})


def cause_of(error: BaseException) -> dict[str, object]:
    """Return the fields that say why something failed.

    The class says it, not the text: that may quote what was found, which may be anybody's.
    """
    return {"cause": type(error).__name__}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def _plain(value: object) -> str | int | float | bool | None:
    """Return a value as JSON has it, in one short line."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 3)
    return " ".join(str(value).split())[:LONGEST]


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text) if " " in text or not text else text


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _module(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{ROOT}.")


def _since(began: float) -> float:
    return time.monotonic() - began
