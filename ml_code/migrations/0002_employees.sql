-- What etl_example loads, and which files it has loaded, so that the same content is never loaded twice.
CREATE TABLE warehouse.employees (
  employee_id bigint PRIMARY KEY,
  name text NOT NULL,
  department text NOT NULL,
  salary numeric(12, 2) NOT NULL,
  hired_on date NOT NULL,
  loaded_from text NOT NULL,
  loaded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN warehouse.employees.loaded_from IS 'sha256 of the file that brought these values';

CREATE TABLE warehouse.loaded_file (
  target text,
  sha256 text,
  uri text NOT NULL,
  rows_read bigint NOT NULL,
  rows_good bigint NOT NULL,
  rows_quarantined bigint NOT NULL,
  rows_changed bigint NOT NULL,
  quarantine_uri text,
  loaded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (target, sha256)
);
