"""What can go wrong with the weather API.

WeatherError                the weather API gives no forecast; carries how long it asked to wait
├── WeatherKeyError         no key, or one that the API refuses
├── WeatherRequestError     a place, time or address that the API does not serve
├── WeatherNotReadyError    the forecast of that hour is not out yet
├── WeatherQuotaError       the day's requests are used up
├── WeatherBusyError        too many requests at this moment
├── WeatherUnavailableError the API cannot be reached, or fails
│   └── WeatherTimeoutError     it did not answer in time
├── WeatherAnswerError      an answer that is not what the API's guide describes
└── WeatherValueError       a forecast value that cannot be read
"""

from __future__ import annotations

from ml_code.errors import MlopsError


class WeatherError(MlopsError):
    """The weather API gives no forecast; `retry_after_seconds` is how long it asked to wait, if it did."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class WeatherKeyError(WeatherError):
    """No key, or one that the API refuses."""


class WeatherRequestError(WeatherError):
    """A place, time or address that the API does not serve."""


class WeatherNotReadyError(WeatherError):
    """The forecast of that hour is not out yet."""


class WeatherQuotaError(WeatherError):
    """The day's requests are used up."""


class WeatherBusyError(WeatherError):
    """Too many requests at this moment."""


class WeatherUnavailableError(WeatherError):
    """The API cannot be reached, or fails."""


class WeatherTimeoutError(WeatherUnavailableError):
    """The API did not answer in time."""


class WeatherAnswerError(WeatherError):
    """An answer that is not what the API's guide describes."""


class WeatherValueError(WeatherError):
    """A forecast value that cannot be read."""
