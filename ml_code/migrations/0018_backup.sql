-- Each whole set of `mlops backup`, which adds the rows as the superuser. The monitoring tells by them how old the newest is.
CREATE TABLE warehouse.backup (
  name text PRIMARY KEY,
  began_at timestamptz NOT NULL,
  ended_at timestamptz NOT NULL,
  bytes bigint NOT NULL CHECK (bytes >= 0)
);
COMMENT ON COLUMN warehouse.backup.bytes IS 'of the set, where no other set shares them';

DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'warehouse') THEN
    REVOKE ALL ON warehouse.backup FROM warehouse;
    GRANT SELECT ON warehouse.backup TO warehouse;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'monitor') THEN
    GRANT SELECT ON warehouse.backup TO monitor;
  END IF;
END $$;
