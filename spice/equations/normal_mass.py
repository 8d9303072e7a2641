"""The normal distribution's mass between two numbers, for Python and, since it calls nothing, for compiled code."""

import math

HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)
ROOT_HALF = math.sqrt(0.5)
FAR = 30.0  # from which on the tail's asymptotic series is exact to rounding
NARROW = 0.1  # width times distance, below which a series of the width is exact to rounding


def log_normal_mass(low: float, high: float) -> float:
    """Logarithm of a standard normal's mass between two numbers, to rounding: in the tails, and in narrow windows."""
    width, middle = high - low, 0.5 * (low + high)
    if width * (1.0 + abs(middle)) < NARROW:
        w2, c2 = width * width, middle * middle
        bend = w2 * (c2 - 1.0) / 24.0 + w2 * w2 * (1.0 / 1440.0 - c2 / 720.0 - c2 * c2 / 2880.0)
        return math.log(width) - 0.5 * c2 - HALF_LOG_2_PI + bend
    if low <= 0.0 <= high:
        return math.log(0.5 * (math.erf(high * ROOT_HALF) - math.erf(low * ROOT_HALF)))
    near, far = (low, high) if low > 0.0 else (-high, -low)
    log_tail = log_beyond = 0.0
    for x in (far, near):
        log_beyond = log_tail
        if x < FAR:
            log_tail = math.log(0.5 * math.erfc(x * ROOT_HALF))
        else:
            r = 1.0 / (x * x)
            series = -r * (1.0 - 3.0 * r * (1.0 - 5.0 * r * (1.0 - 7.0 * r)))
            log_tail = -0.5 * x * x - HALF_LOG_2_PI - math.log(x) + math.log1p(series)
    share = log_beyond - log_tail
    return log_tail + (math.log(-math.expm1(share)) if share > -0.7 else math.log1p(-math.exp(share)))
