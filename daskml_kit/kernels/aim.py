"""Centres as the kernels want them: moved to the data, scaled, in float32, in groups.

Scores of rows with a group (:mod:`daskml_kit.kernels.scores`) are float32 and a little wrong. How wrong at
most is known, and what that leaves open is decided on distances in float64, computed directly from rows and
centres as they came. So origin, scale and groups change no answer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels.blocks import frozen
from daskml_kit.kernels.scores import score_error
from daskml_kit.typing import Array, FloatArray, IntArray

TIE = 1e-12
"""Squared distances that differ by this part of themselves are equal: rounding of ``x - c`` for data whose
distance from the origin is up to 1,000 times their spread."""

FEW = 512
"""Up to so many centres they are compared with each other, where there is one group: ``k^2`` distances."""

LARGEST = 3e38
GROW, SHRINK = 1.0 + 2.0**-21, 1.0 - 2.0**-21  # more than a few roundings to float32
WILD = 1e30  # squared length from which scores are not to be trusted at all
LEAST_REACH = 2.0**-49
"""Of a group: what a score loses where float32 underflows, at most ``(4 d + 4) 2^-126``, is then less than
what is allowed for its rounding. Matters where clusters are 1e15 times narrower than the data."""


class Aim(NamedTuple):
    """The centres of a pass, as the loop wants them."""

    centers: Array
    """(k, d) float64."""
    groups: Array
    """(t, d, width) float32: ``(c - origin) scale`` of each group, transposed."""
    constants: Array
    """(t, width) float32: half of their squared lengths, infinite where a group is not full."""
    members: Array
    """(t width,) int64: the centre at each place, -1 for none."""
    place: Array
    """(k,) int64: the place of each centre."""
    sizes: Array
    """(t,) int64: centres of each group."""
    reach: Array
    """(t,) the largest length in each group, scaled, and at least :data:`LEAST_REACH`."""
    halves: Array
    """(k,) float32: half of the way to the nearest other centre, at most."""
    origin: Array
    """(d,)"""
    scale: float
    """A power of two."""
    error: float
    """A squared distance from scores is off by at most ``error (|x| + reach)^2``."""
    tie: float
    """Squared distances that differ by this part of themselves are equal."""
    longest: float
    """The largest length of all."""


def aim_at(
    centers: Array, members: IntArray, origin: Array | None = None, *, halves: bool = True
) -> Aim:
    """The centres of a pass, for the blocks of one task.

    Parameters
    ----------
    centers : (k, d)
    members : (t, width) the centres of each group, -1 where it is not full; width in whole vectors
    origin : (d,) a point near the data: the nearer, the fewer rows need a second look
    halves : whether centres of a single group are compared with each other
    """
    d = centers.shape[1]
    points, shift = as_centers(centers, d), np.zeros(d) if origin is None else origin
    places = members.ravel()
    taken = places >= 0
    placed, place = np.zeros((len(places), d)), np.empty(len(points), np.int64)
    placed[taken] = (points - shift)[places[taken]]
    place[places[taken]] = np.flatnonzero(taken)
    lengths = np.sqrt(2.0 * half_squares(placed))
    scale = 2.0 ** -np.clip(np.frexp(lengths.max())[1], -400, 400)
    placed *= scale
    constants = np.where(taken, half_squares(placed), np.inf)
    width = members.shape[1]
    return Aim(
        points,
        frozen(placed.reshape(-1, width, d).transpose(0, 2, 1), np.float32),
        frozen(constants.reshape(-1, width), np.float32),
        frozen(places, np.int64),
        frozen(place),
        frozen(taken.reshape(-1, width).sum(axis=1)),
        frozen(np.maximum(lengths.reshape(-1, width).max(axis=1) * scale, LEAST_REACH)),
        as_float32(
            halves_between(points) if halves and len(members) == 1 else np.zeros(len(points))
        ),
        frozen(shift, np.float64),
        float(scale),
        score_error(d),
        tie_width(d),
        float(lengths.max() * scale),
    )


def as_float32(lengths: FloatArray) -> Array:
    """Read-only; what is too long becomes infinite, which no bound survives."""
    with np.errstate(over="ignore"):
        return frozen(lengths, np.float32)


def halves_between(centers: FloatArray) -> FloatArray:
    """Half of the distance from each centre to the nearest other, a little less; zeros if too dear."""
    k, d = centers.shape
    if k < 2 or k > FEW:
        return np.zeros(k)
    moved = centers - centers.mean(axis=0)
    squares = np.einsum("kj,kj->k", moved, moved)
    gaps = squares[:, None] + squares - 2.0 * (moved @ moved.T)
    np.fill_diagonal(gaps, np.inf)
    noise = 8.0 * (d + 8) * np.finfo(np.float64).eps * np.max(squares)
    halves = 0.5 * np.sqrt(np.maximum(gaps.min(axis=1) - noise, 0.0)) * (1.0 - 1e-6)
    return np.asarray(np.minimum(halves, LARGEST))


def tie_width(d: int) -> float:
    """:data:`TIE`, or the rounding of a sum of d squares where that is more."""
    return max(TIE, 8.0 * (d + 4) * float(np.finfo(np.float64).eps))


def half_squares(centers: Array) -> FloatArray:
    """``|c|^2 / 2`` (k,) float64."""
    return frozen(0.5 * np.einsum("kj,kj->k", centers, centers))


def as_centers(centers: Array, d: int) -> FloatArray:
    """Read-only float64 (k, d)."""
    if centers.ndim != 2 or centers.shape[1] != d or len(centers) == 0:
        raise InvalidDataError(
            f"centers must have shape (k, {d}) with k at least 1 for X of {d} columns, "
            f"got {centers.shape}. Pass one row for each centre."
        )
    return frozen(centers, np.float64)


def as_origin(origin: Array, d: int) -> FloatArray:
    """Read-only float64 (d,)."""
    if origin.shape != (d,):
        raise InvalidDataError(
            f"origin must have shape ({d},) for X of {d} columns, got {origin.shape}. "
            "Pass the mean of each column, or None."
        )
    return frozen(origin, np.float64)


__all__ = [
    "GROW",
    "LARGEST",
    "SHRINK",
    "TIE",
    "WILD",
    "Aim",
    "aim_at",
    "as_centers",
    "as_float32",
    "as_origin",
    "half_squares",
    "tie_width",
]
