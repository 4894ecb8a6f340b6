"""What can go wrong with the weather API.

WeatherError                the weather API returns no forecast; holds the wait that it asked for
├── WeatherKeyError         no key, or one that the API refuses
├── WeatherRequestError     a place, time or address that the API does not serve
├── WeatherNotReadyError    the forecast of that hour is not out yet
├── WeatherQuotaError       the day's requests are used up
├── WeatherBusyError        too many requests at this moment
├── WeatherUnavailableError the API cannot be reached, or fails
│   └── WeatherTimeoutError     it did not respond in time
├── WeatherAnswerError      a response that is not as in the API's guide
└── WeatherValueError       a forecast value that cannot be read
"""

from __future__ import annotations

from ml_code.errors import MlopsError


class WeatherError(MlopsError):
    """The weather API returns no forecast; `retry_after_seconds` is the wait that it asked for, if any."""

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
    """The API did not respond in time."""


class WeatherAnswerError(WeatherError):
    """A response that is not as in the API's guide."""


class WeatherValueError(WeatherError):
    """A forecast value that cannot be read."""
