"""What runs the features: DuckDB in this process or Spark on this machine, under the same Ibis expressions."""
