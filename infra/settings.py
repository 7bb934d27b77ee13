"""Settings: read once from the environment (prefix ``RAPPORT_``) at an entry point, then passed down."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent

PREFIX = "RAPPORT_"
EngineName = Literal["duckdb", "spark"]
LogFormat = Literal["plain", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(BaseSettings):
    """Every setting of Rapport with its default; the environment variable is ``RAPPORT_`` and the name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    company: Path = Field(ROOT / "companies" / "simulated", description="the company: a folder with a company.toml")
    home: Path = Field(Path(".rapport"), description="folder that holds the state of every company, one folder each")
    public_data: Path = Field(ROOT.parent / "shared" / "data", description="folder of the public data sets")
    engine: EngineName = Field("duckdb", description="what builds the features")
    redis_url: str | None = Field(None, description="a Redis or Valkey server; without it one starts by itself")
    log_url: str | None = Field(
        None, description="the event log: redis://... or kafka://host:port; without it one starts by itself"
    )
    sample_rate: float = Field(0.01, ge=0, le=1, description="share of answers that are kept for the parity meter")
    metadata_url: str | None = Field(
        None, description="SQLAlchemy URL of a PostgreSQL server for Airflow and MLflow; without it SQLite"
    )
    log_format: LogFormat = Field("plain", description="form of the log lines: plain for people, json for machines")
    log_level: LogLevel | None = Field(
        None, description="least level that is logged; without it info, for the command line warning"
    )
    skip_unchanged: bool = Field(True, description="skip a step whose inputs are those of its last run")
    threads: int = Field(2, ge=1, description="threads of DuckDB, Spark and the learners")
    memory: str = Field("2GB", description="memory limit of DuckDB; it spills beyond")
    serve_port: int = Field(8600, description="port of the online service")
    stream_port: int = Field(8601, description="port on which the stream runner tells Prometheus how it is")
    airflow_port: int = Field(8080, description="port of Airflow's API and UI")
    mlflow_port: int = Field(5000, description="port of MLflow's UI")
