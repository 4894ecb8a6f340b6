-- Optuna makes and migrates its own tables; they stay out of ours.
CREATE SCHEMA IF NOT EXISTS optuna;
