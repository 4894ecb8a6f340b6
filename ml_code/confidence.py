"""Intervals that hold at every look, however often anybody looks and whenever rows come."""

from __future__ import annotations

import math


def find_radius(standard_error: float, progress: float, alpha: float) -> float:
    """Half of an interval that holds at all looks together but for the share `alpha` of cases.

    It is the asymptotic confidence sequence of I. Waudby-Smith et al. ("Time-uniform central limit theory and
    asymptotic confidence sequences", Annals of Statistics 2024, doi:10.1214/24-AOS2408). It is narrowest, beside the
    interval of a single look, where the planned rows have come.

    Args:
        standard_error: of the mean so far, in its unit.
        progress: variance of the sum so far as a share of that of the planned rows, above 0.
        alpha: share of cases in which the interval may ever miss the truth.
    """
    level = -2 * math.log(alpha)
    mixture = progress * (level + math.log(1 + level))
    return standard_error * math.sqrt(2 * (mixture + 1) / mixture * math.log(math.sqrt(mixture + 1) / alpha))
