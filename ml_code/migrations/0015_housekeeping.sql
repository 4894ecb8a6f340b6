-- One row for each run of housekeeping: the time that it reckons with, and what its plan would delete by rule.
-- The time of a run is at most two days after that of the run before, whatever the machine's clock says.
CREATE TABLE warehouse.housekeeping (
  owner text PRIMARY KEY,
  began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  clock timestamptz NOT NULL,
  is_dry boolean NOT NULL,
  planned jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN warehouse.housekeeping.owner IS 'the run of the DAG; a task that runs again finds its row by it';
COMMENT ON COLUMN warehouse.housekeeping.is_dry IS 'nothing is deleted: the first run of a stack, or one that was asked for';
