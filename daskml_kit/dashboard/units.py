"""Numbers with their units, as a reader wants them."""

from __future__ import annotations


def seconds(value: float) -> str:
    """A duration: ``340 µs``, ``12.5 ms``, ``3.40 s``, ``5 min 20 s``, ``2 h 3 min``.

    >>> [seconds(v) for v in (0, 0.00034, 0.0125, 3.4, 320, 7390)]
    ['0 s', '340 µs', '12.5 ms', '3.40 s', '5 min 20 s', '2 h 3 min']
    """
    if value == 0:
        return "0 s"
    if value < 0.9995e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    if value < 59.995:
        return f"{value:.2f} s"
    whole = round(value)
    minutes = f"{whole // 60} min {whole % 60} s"
    return minutes if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def nbytes(value: float) -> str:
    """A size in decimal units: ``512 B``, ``1.5 kB``, ``2.35 MB``.

    >>> [nbytes(v) for v in (0, 512, 1500, 2_350_000, 7e12)]
    ['0 B', '512 B', '1.5 kB', '2.35 MB', '7 TB']
    """
    unit, scale = byte_unit(value)
    return f"{value / scale:.3g} {unit}"


def byte_unit(value: float) -> tuple[str, float]:
    """The decimal unit that suits a size, and its bytes."""
    scale = 1.0
    for unit in ("B", "kB", "MB", "GB"):
        if value / scale < 999.5:
            return unit, scale
        scale *= 1000
    return "TB", scale


def count(value: int) -> str:
    """A whole number with its thousands set apart."""
    return f"{value:,}"


def count_unit(value: float) -> tuple[str, float]:
    """The multiple that suits a number of things, and its size.

    >>> count_unit(2_500_000)
    ('M', 1000000.0)
    """
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return unit, scale
    return "", 1.0


def rate(value: float) -> str:
    """Rows a second: ``940 rows/s``, ``12.3 k rows/s``, ``4.56 M rows/s``.

    >>> [rate(v) for v in (0, 940, 12_345, 4.56e6, 2e10)]
    ['–', '940 rows/s', '12.3 k rows/s', '4.56 M rows/s', '20 G rows/s']
    """
    unit, scale = count_unit(value)
    return f"{value / scale:.3g} {unit}".rstrip() + " rows/s" if value else "–"


def percent(share: float) -> str:
    """A share as a whole percentage.

    >>> percent(0.414)
    '41 %'
    """
    return f"{100 * share:.0f} %"
