"""How a command of `mlops` fails: with one line on stderr, and an exit code for the kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console

from ml_code.errors import CatalogError, MlopsError, ModelFileError, TrainingError
from mlops.errors import LocalStackError
from serving.errors import NoCandidateError, ServingError

FAILURE = 1
"""An outside system refuses or does not answer: retry later, or look at it."""

USAGE_ERROR = 2
"""The options are wrong: change them."""

USAGE_ERRORS: tuple[type[Exception], ...] = (CatalogError, TrainingError, ModelFileError, NoCandidateError)


@contextmanager
def explained(*further_usage_errors: type[MlopsError | LocalStackError]) -> Iterator[None]:
    """Ends the command with one line if it fails.

    Args:
        further_usage_errors: errors that this command's options cause, besides `USAGE_ERRORS`.
    """
    try:
        yield
    except USAGE_ERRORS + further_usage_errors as error:
        fail(error, USAGE_ERROR)
    except (LocalStackError, MlopsError, ServingError) as error:
        fail(error, FAILURE)
    except ModuleNotFoundError as error:
        found = f"library {error.name}: expected to import it, found it missing"
        fail(LocalStackError(f"{found}; `make install` in a checkout installs all that `mlops` uses"), FAILURE)
    except OSError as error:
        found = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        fail(LocalStackError(f"files: expected to read and write them, found: {found}"), FAILURE)


def fail(error: Exception, code: int) -> NoReturn:
    """Prints the error and ends the command. A name of an object in it may hold commands of a terminal."""
    text = "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in str(error))
    Console(stderr=True, soft_wrap=True).print(f"error: {text}", markup=False, highlight=False)
    raise typer.Exit(code) from error
