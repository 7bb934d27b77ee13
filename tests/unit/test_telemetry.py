"""Telemetry: one line an event, in two forms, with fields that are never about a person."""

import ast
import io
import json
import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from infra.settings import ROOT, Settings
from infra.telemetry import FIELDS, PLUG_INS, Log, UnknownField, configure
from infra.telemetry import ROOT as ABOVE
from rapport_feast.errors import Rejected

LEVELS = {"debug", "info", "warning", "error", "step"}
ROOMS = ("infra", "validation", "features", "training", "serving", "dags", "rapport")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    yield io.StringIO()
    for name in (ABOVE, PLUG_INS):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def test_a_plain_line_names_moment_level_module_event_and_fields(stream: io.StringIO) -> None:
    configure(Settings(), stream=stream)
    Log("validation.ingest").info("ingested", table="silver/orders", night=date(2026, 11, 20), rows=12)
    moment, _, rest = stream.getvalue().partition(" ")
    assert moment.endswith("+00:00")
    assert rest == "info    validation.ingest: ingested table=silver/orders night=2026-11-20 rows=12\n"


def test_a_json_line_is_one_object(stream: io.StringIO) -> None:
    configure(Settings(log_format="json"), stream=stream)
    Log("serving.app").warning("degraded", cause="Transient", seconds=0.12345)
    line = json.loads(stream.getvalue())
    assert {"level": "warning", "module": "serving.app", "event": "degraded"}.items() <= line.items()
    assert (line["cause"], line["seconds"]) == ("Transient", 0.123)


def test_a_step_says_how_long_it_took_and_why_it_failed_but_quotes_nothing(stream: io.StringIO) -> None:
    configure(Settings(log_format="json"), stream=stream)
    with Log("training.run").step("trained", model="churn") as told:
        told["rows"] = 7
    with pytest.raises(Rejected), Log("training.run").step("trained", model="churn"):
        raise Rejected("customer_id", "a known one", "C-4711")
    done, failed = map(json.loads, stream.getvalue().splitlines())
    assert (done["event"], done["rows"], done["level"]) == ("trained", 7, "info")
    assert (failed["event"], failed["cause"], failed["level"]) == ("trained failed", "Rejected", "error")
    assert "C-4711" not in stream.getvalue()


def test_a_field_that_nobody_allowed_is_refused_even_below_the_level(stream: io.StringIO) -> None:
    configure(Settings(log_level="error"), stream=stream)
    with pytest.raises(UnknownField, match="customer_id"):
        Log("serving.app").debug("looked up", customer_id="C-4711")
    assert stream.getvalue() == ""


def test_the_level_is_that_of_the_settings_else_of_the_process(stream: io.StringIO) -> None:
    for settings, lines in ((Settings(), 1), (Settings(log_level="info"), 2)):
        stream.truncate(stream.seek(0))
        configure(settings, default="warning", stream=stream)
        Log("infra.lake").info("written", rows=1)
        Log("infra.lake").warning("set aside", files=1)
        assert len(stream.getvalue().splitlines()) == lines


def test_the_noise_of_libraries_is_not_in_it(stream: io.StringIO) -> None:
    configure(Settings(log_level="debug"), stream=stream)
    logging.getLogger("py4j").error("noise")
    logging.getLogger("mlflow").warning("noise")
    assert stream.getvalue() == ""


def calls_of_log(path: Path) -> Iterator[ast.Call]:
    """Calls of a module's ``LOG``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            yield from [node] if isinstance(node.func.value, ast.Name) and node.func.value.id == "LOG" else []


def test_every_line_of_the_code_is_a_fixed_text_with_known_fields() -> None:
    found = [(path, call) for room in ROOMS for path in (ROOT / room).rglob("*.py") for call in calls_of_log(path)]
    assert found
    for path, call in found:
        where = f"{path.relative_to(ROOT)}:{call.lineno}"
        assert [type(word) for word in call.args] == [ast.Constant], f"{where}: the event is no fixed text"
        names = {word.arg for word in call.keywords if word.arg}
        assert names <= FIELDS, f"{where}: {sorted(names - FIELDS)}"
