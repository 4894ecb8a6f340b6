"""Asks the real KMA once with the key of .env and prints what the next six hours bring: `make kma-live`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from dotenv import dotenv_values

from ml_code.errors import MlopsError
from ml_code.etl.forecasts import CATEGORIES, read_value
from ml_code.etl.kma_api import KmaApi, find_issue
from ml_code.etl.kma_document import ForecastItem, Place, read_items
from ml_code.settings import REPOSITORY

SEOUL = Place(60, 127)


def main() -> None:
    issued_at = find_issue(datetime.now(UTC))
    try:
        api = KmaApi(dotenv_values(REPOSITORY / ".env").get("KMA_SERVICE_KEY"))
        items = read_items(api.fetch_forecast(SEOUL, issued_at))
    except MlopsError as error:
        sys.exit(f"FAIL: {error}")
    print(f"issue {issued_at:%Y-%m-%d %H:%M} KST for {SEOUL}: {len(items)} values")
    print_table(items)


def print_table(items: list[ForecastItem]) -> None:
    """One line per category, one column per hour; what is not as in the guide stops it."""
    hours = sorted({item.forecast_at for item in items})
    print(f"{'':28}" + "".join(f"{hour:%H:%M}".rjust(9) for hour in hours))
    for code in sorted({item.category for item in items}):
        category = CATEGORIES.get(code)
        values = {item.forecast_at: read_value(code, item.raw) for item in items if item.category == code}
        cells = [values.get(hour) for hour in hours]
        name = f"{code} {category.column if category else '(unknown)'}"
        print(f"{name:28}" + "".join(("-" if cell is None else f"{cell:g}").rjust(9) for cell in cells))


if __name__ == "__main__":
    main()
