"""The local stack: Airflow, MLflow, the online service and the stream as child processes, and nights run by them."""
