"""The forms of Ibis that the compiler relies on: DuckDB and Spark give equal tables, and the right ones."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import ibis
import pyarrow as pa
import pytest
from ibis import _
from ibis.expr.types import Table

from infra.clock import Nights
from infra.company.company import Company
from infra.engine import java
from infra.engine.engine import Engine
from infra.engine.java import java_home
from infra.engine.open import open_engine
from infra.lake.commit import Commit
from infra.settings import ROOT, EngineName, Settings
from infra.workspace import Workspace
from rapport_feast.errors import Rejected

TINY = Company(name="tiny", title="Tiny", sources=())

OLDER, NEWER = date(2026, 11, 19), date(2026, 11, 20)
DAY_MICROS = 86_400_000_000
Form = Callable[[Engine, Table], Table]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


ROWS = pa.table(
    {
        "night": pa.array([NEWER, NEWER, NEWER, OLDER, OLDER], pa.date32()),
        "k": ["a", "a", "b", "b", None],
        "s": ["Zed", "äb", "abc", None, ""],
        "v": pa.array([-7, 5, None, 3, 9], pa.int64()),
        "f": pa.array([1.5, None, 2.25, -0.5, 3.0], pa.float64()),
        "ok": pa.array([True, False, None, True, True]),
        "at": pa.array(
            [
                at("2026-11-20T10:00:00.123456"),
                at("1969-12-31T23:59:59.999999"),
                at("2026-03-29T01:30:00"),
                None,
                at("2026-10-25T00:30:00.000001"),
            ],
            pa.timestamp("us", "UTC"),
        ),
    }
)


def everything(e: Engine, t: Table) -> Table:
    return t.order_by("night", "k", "s")


def aggregates(e: Engine, t: Table) -> Table:
    found = t.group_by("k").aggregate(
        n=_.count(),
        n_v=_.v.count(),
        total=_.v.sum(),
        least=_.v.min(),
        most=_.s.max(),
        distinct=_.s.nunique(),
        total_ok=_.v.sum(where=_.ok),
        n_ok=_.v.count(where=_.ok),
        n_where=_.count(where=(_.v > 0).fill_null(False)),
        distinct_ok=_.s.nunique(where=_.ok),
        none=_.v.max(where=_.v > 100),
    )
    return found.order_by("k")


def newest_value(e: Engine, t: Table) -> Table:
    keyed = t.mutate(key=ibis.struct({"m": e.micros(t.at), "s": t.s.fill_null("")}))
    found = keyed.group_by("k").aggregate(a=_.v.argmax(_.key, where=_.v.notnull()), b=_.v.argmax(_.s.fill_null("")))
    return found.order_by("k")


def windows(e: Engine, t: Table) -> Table:
    order = [e.micros(t.at), t.s]
    plain = ibis.window(group_by="night", order_by=order)
    running = ibis.window(group_by="night", order_by=order, preceding=None, following=0)
    found = t.mutate(
        before=t.v.lag().over(plain),
        after=t.v.lead().over(plain),
        number=ibis.row_number().over(plain),
        highest=t.v.max().over(running),
    )
    return found.order_by("night", "number")


def times(e: Engine, t: Table) -> Table:
    m = e.micros(t.at)
    return t.select("s", m=m, back=e.moment(m), day=m // DAY_MICROS, rest=m - (m // DAY_MICROS) * DAY_MICROS).order_by(
        "m"
    )


def integers(e: Engine, t: Table) -> Table:
    return t.select("k", "s", half=t.v // 2, sign=t.v % 2, share=t.v / 3, safe=t.v / (t.v - 5).nullif(0)).order_by(
        "k", "s"
    )


def unnested(e: Engine, t: Table) -> Table:
    some = t.filter(t.v.notnull())
    return (
        some.mutate(d=ibis.range(some.v * 0, some.v.abs() % 4).unnest()).select("k", "s", "d").order_by("k", "s", "d")
    )


def joined(e: Engine, t: Table) -> Table:
    right = t.select(rk=t.k, rm=e.micros(t.at))
    found = t.left_join(right, [t.k == right.rk, e.micros(t.at) >= right.rm])
    return found.select("k", "s", "rm").order_by("k", "s", "rm")


def texts(e: Engine, t: Table) -> Table:
    found = t.select(
        "s",
        "k",
        both=t.k + ":" + t.s,
        below=t.s < "b",
        among=t.s.isin(["abc", "Zed"]),
        length=t.s.length(),
        like=t.s.lower().re_search("ab|zed"),
        size=ibis.cases((t.v > 4, "large"), else_="small"),
    )
    return found.order_by(ibis.desc("s"), "k")


def moments(e: Engine, t: Table) -> Table:
    first = ibis.literal(at("2026-11-20T10:00:00.123456"))
    return t.select("s", tonight=t.night >= NEWER, early=t.at < first, same=t.at == first).order_by("s")


def materialised(e: Engine, t: Table) -> Table:
    kept = e.materialise("kept", t.mutate(m=e.micros(t.at)))
    return kept.group_by("night").aggregate(m=_.m.max(), n=_.count()).order_by("night")


def memory(e: Engine, t: Table) -> Table:
    return e.memtable("small", ROWS.select(["night", "s", "v", "at"]).slice(0, 3)).order_by("s")


def nothing(e: Engine, t: Table) -> Table:
    return e.table("nothing", [], ROWS.schema, "").union(t.limit(0))


def no_chunk(e: Engine, t: Table) -> Table:
    empty = e.to_arrow(t.filter(t.s == "nobody"))
    bare = pa.table({name: pa.chunked_array([], type=empty[name].type) for name in empty.column_names})
    return e.memtable("no_chunk", bare).union(t.limit(0))


FORMS: tuple[Form, ...] = (
    everything,
    aggregates,
    newest_value,
    windows,
    times,
    integers,
    unnested,
    joined,
    texts,
    moments,
    materialised,
    memory,
    nothing,
    no_chunk,
)


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(Settings(home=tmp_path_factory.mktemp("engine")), TINY)
    # Two commits: the older files have no column "f".
    made.lake.replace(
        "silver/x", ROWS.filter(pa.compute.field("night") == OLDER).drop(["f"]), Commit(Nights(OLDER, OLDER))
    )
    made.lake.replace("silver/x", ROWS.filter(pa.compute.field("night") == NEWER), Commit(Nights(NEWER, NEWER)))
    return made


def _answers(ws: Workspace, name: EngineName) -> Iterator[tuple[str, pa.Table]]:
    with open_engine(ws, name) as engine:
        lake = ws.lake
        table = engine.table("x", lake.files("silver/x"), lake.schema("silver/x"), lake.path("silver/x"))
        for form in FORMS:
            yield form.__name__, engine.to_arrow(form(engine, table))


@pytest.fixture(scope="module")
def duckdb_answers(ws: Workspace) -> dict[str, pa.Table]:
    return dict(_answers(ws, "duckdb"))


@pytest.fixture(scope="module")
def spark_answers(ws: Workspace) -> dict[str, pa.Table]:
    return dict(_answers(ws, "spark"))


@pytest.mark.parametrize("form", [form.__name__ for form in FORMS])
def test_both_engines_agree(form: str, duckdb_answers: dict[str, pa.Table], spark_answers: dict[str, pa.Table]) -> None:
    duckdb, spark = duckdb_answers[form], spark_answers[form]
    assert duckdb.schema.equals(spark.schema)
    assert duckdb.to_pylist() == spark.to_pylist()


def test_files_are_read_as_they_were_written(duckdb_answers: dict[str, pa.Table]) -> None:
    found = duckdb_answers["everything"]
    assert found.schema.field("night").type == pa.date32()
    assert found.schema.field("at").type == pa.timestamp("us", "UTC")
    expected = [row | ({"f": None} if row["night"] == OLDER else {}) for row in ROWS.to_pylist()]
    assert sorted(found.select(ROWS.column_names).to_pylist(), key=str) == sorted(expected, key=str)


def test_micros_are_exact_before_and_after_1970(duckdb_answers: dict[str, pa.Table]) -> None:
    found = duckdb_answers["times"].to_pylist()
    assert found[0] == {"s": "äb", "m": -1, "back": at("1969-12-31T23:59:59.999999"), "day": -1, "rest": DAY_MICROS - 1}
    assert [row["back"] for row in found if row["m"] is not None] == sorted(filter(None, ROWS["at"].to_pylist()))


def test_division_floors(duckdb_answers: dict[str, pa.Table]) -> None:
    assert duckdb_answers["integers"].filter(pa.compute.field("s") == "Zed")["half"].to_pylist() == [-4]


def test_the_wheel_serves_where_there_is_no_java(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"/nowhere{os.pathsep}/bin")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    home = java_home(ws)
    assert home is not None
    command = [str(home / "bin" / "java"), "--add-modules=jdk.incubator.vector", "-version"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "build" in told.stderr
    assert "incubator" not in told.stderr


def test_without_any_java_spark_says_what_is_missing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    assert java_home(ws) is None
    with pytest.raises(Rejected, match="Java 17"), open_engine(ws, "spark"):
        pass


def test_spark_is_not_imported_for_duckdb(ws: Workspace) -> None:
    script = "import sys, infra.engine.open; sys.exit('pyspark' in sys.modules)"
    root = ROOT
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0


def test_a_script_never_starts_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homes = [java_home(Workspace(Settings(home=tmp_path / name), TINY)) for name in ("a", "b")]
    for home in (*homes, *homes):
        assert home is not None
        monkeypatch.setenv("JAVA_HOME", str(home))
        for name in ("a", "b"):
            again = java_home(Workspace(Settings(home=tmp_path / name), TINY))
            assert again is not None
            assert str(tmp_path) not in (again / "bin" / "java").read_text()
