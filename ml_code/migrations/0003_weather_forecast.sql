CREATE TABLE warehouse.weather_forecast (
    nx smallint NOT NULL,
    ny smallint NOT NULL,
    forecast_at timestamptz NOT NULL,
    category text NOT NULL,
    value double precision,
    unit text,
    raw text,
    issued_at timestamptz NOT NULL,
    collected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (nx, ny, forecast_at, category)
);
COMMENT ON TABLE warehouse.weather_forecast IS 'The newest KMA forecast of each place, time and category.';
COMMENT ON COLUMN warehouse.weather_forecast.value IS 'NULL where the KMA has no value; of a range its lower end.';
COMMENT ON COLUMN warehouse.weather_forecast.raw IS 'The value as the KMA wrote it; NULL for null.';
