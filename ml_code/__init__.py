"""What training, gating and inference mean; knows nothing of Airflow, BentoML or Docker."""
