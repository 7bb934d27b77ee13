"""The DAGs: one Airflow DAG a file, wiring only; the work is done by the rooms' own functions."""
