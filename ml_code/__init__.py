"""Data, training, gate and batches, without Airflow, BentoML or Docker."""
