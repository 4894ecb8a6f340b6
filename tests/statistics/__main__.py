"""`make statistics`: the tables of docs/figures.md about drift, with fixed seeds; some ten minutes."""

from __future__ import annotations

from tests.statistics.drift import Case, simulate

SERIES = 20

CLEAN = [
    Case(reference, window, columns)
    for reference in (100, 1_000, 10_000)
    for window in (50, 200, 5_000)
    for columns in (4, 20)
]
MOVED = [Case(*sizes, 4, shift) for shift in (1.0, 0.5) for sizes in ((100, 50), (1_000, 200), (10_000, 5_000))]


def main() -> None:
    """Prints one row of Markdown for each case."""
    print("| reference, window, features | shift | windows not clean | series that alarm | found within five |")
    print("|---|---|---|---|---|")
    for case in [*CLEAN, *MOVED]:
        found = simulate(case, SERIES)
        sizes = f"{case.reference:,}, {case.window:,}, {case.columns}"
        print(
            f"| {sizes} | {case.shift:g} sd | {found.windows:.3f} | {found.series:.2f} | {found.within_five:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
