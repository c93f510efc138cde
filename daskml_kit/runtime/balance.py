"""Whether to move rows between workers, how many, and which. No cluster in here.

A round lasts as long as its slowest worker. From each round's measured seconds a row follows how fast
every worker is at this work, and from the speeds how many rows each should hold. Moving costs about as
much as sending the bytes. The rounds that are still to come are not known, so the rule is that of the
ski rental: move as soon as the rounds since the last move have lost, in all, what moving costs. Whatever
the number of rounds turns out to be, this loses at most twice what the best decision in hindsight would.

References
----------
Karlin, Manasse, Rudolph, Sleator (1988). Competitive snoopy caching. Algorithmica 3.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median

from daskml_kit.runtime.events import RoundEvent
from daskml_kit.runtime.placement import TOLERATED_IMBALANCE, Piece, WorkerInfo

MOVE_SECONDS = 0.05
"""What cutting bundles anew costs, however few bytes move: a graph of small tasks."""

_MEMORY = 5  # rounds whose speeds are remembered


def shares(n_rows: int, speeds: Sequence[float], most: Sequence[float]) -> list[int]:
    """Rows for each worker in proportion to its speed, at most ``most`` each.

    Parameters
    ----------
    n_rows : rows in all
    speeds : rows a second of each worker
    most : rows that each has the memory for; where they don't suffice they are exceeded in proportion

    Returns
    -------
    list of int
        Their sum is ``n_rows``.

    Examples
    --------
    >>> shares(100, [3.0, 1.0], [math.inf, math.inf])
    [75, 25]
    >>> shares(100, [3.0, 1.0, 1.0], [20, math.inf, math.inf])
    [20, 40, 40]
    """
    if sum(most) < n_rows:
        most = [n_rows * m / sum(most) if sum(most) else n_rows / len(most) for m in most]
    exact = [0.0] * len(speeds)
    open_, left = set(range(len(speeds))), float(n_rows)
    while open_:
        rate = left / sum(speeds[j] for j in open_)
        full = {j for j in open_ if speeds[j] * rate >= most[j]}
        for j in full or open_:
            exact[j] = most[j] if full else speeds[j] * rate
        left -= sum(exact[j] for j in full)
        open_ = open_ - full if full else set()
        if left <= 0:
            break
    edges = [0, *(round(sum(exact[: j + 1])) for j in range(len(exact) - 1)), n_rows]
    return [high - low for low, high in pairwise(edges)]


def moved(held: Sequence[Sequence[Piece]], targets: Sequence[int]) -> list[list[Piece]]:
    """The pieces of each worker after as few rows as possible have moved.

    Whoever has too many gives from the end of its last pieces, cutting one where it must; whoever has
    too few takes from those, in order.

    Parameters
    ----------
    held : pieces of each worker
    targets : rows that each should have; as many in all as there are

    Returns
    -------
    list of list of Piece
    """
    kept: list[list[Piece]] = []
    given: list[Piece] = []
    for pieces, target in zip(held, targets, strict=True):
        own, spare = _split(pieces, target)
        kept.append(own)
        given += spare
    for own, target in zip(kept, targets, strict=True):
        short = target - sum(p.n_rows for p in own)
        taken, given = _split(given, max(short, 0))
        own += taken
    return kept


def _split(pieces: Sequence[Piece], n_rows: int) -> tuple[list[Piece], list[Piece]]:
    """The first ``n_rows`` rows of some pieces, and the others."""
    first: list[Piece] = []
    rest: list[Piece] = []
    left = n_rows
    for piece in pieces:
        if piece.n_rows <= left:
            first.append(piece)
            left -= piece.n_rows
            continue
        if left:
            first.append(_rows(piece, piece.low, piece.low + left))
        rest.append(_rows(piece, piece.low + left, piece.high))
        left = 0
    return first, rest


def _rows(piece: Piece, low: int, high: int) -> Piece:
    share = (high - low) / piece.n_rows if piece.n_rows else 0.0
    start = piece.start + low - piece.low
    return replace(piece, low=low, high=high, start=start, nbytes=int(piece.nbytes * share))


def _speeds() -> dict[str, dict[str, deque[float]]]:
    return {}


@dataclass(eq=False)
class Balancer:
    """Watches the rounds of one fit and says when rows should move.

    Attributes
    ----------
    bandwidth : bytes a second between workers; corrected by :meth:`has_moved`
    lost : seconds that the rounds since the last move took longer than with the best placement
    """

    bandwidth: float
    lost: float = 0.0
    _per_row: dict[str, dict[str, deque[float]]] = field(default_factory=_speeds)

    def observe(self, event: RoundEvent, workers: Mapping[str, WorkerInfo]) -> float:
        """Take in a round; the seconds that its placement cost it."""
        rows, busy = rows_by_worker(event), event.busy_seconds
        seconds = self._per_row.setdefault(event.name, {})
        for worker, n in rows.items():
            if n:
                seconds.setdefault(worker, deque(maxlen=_MEMORY)).append(busy[worker] / n)
        speeds = self.speeds(event.name, workers)
        ideal = sum(rows.values()) / sum(speeds.values()) if any(speeds.values()) else 0.0
        expected = max((n / speeds[w] for w, n in rows.items() if n and w in speeds), default=0.0)
        if expected <= TOLERATED_IMBALANCE * ideal:
            self.lost = 0.0
            return 0.0
        loss = max(max(busy.values(), default=0.0) - ideal, 0.0)
        self.lost += loss
        return loss

    def knows(self, name: str) -> bool:
        """Whether rounds of that name were taken in."""
        return name in self._per_row

    def speeds(self, name: str, workers: Mapping[str, WorkerInfo]) -> dict[str, float]:
        """Rows a second of every worker at a reduction.

        The median of a worker's last rounds, and once what all workers' threads do, which keeps the noise of
        a single round from looking like a slow machine. Of workers not seen yet only the latter is known.
        """
        seen = {w: own for w in workers if (own := self._per_row.get(name, {}).get(w))}
        if not seen:
            return {w: float(info.n_threads) for w, info in workers.items()}
        a_thread = median(median(own) * workers[w].n_threads for w, own in seen.items())
        return {
            w: 1.0 / max(median([*seen.get(w, ()), a_thread / info.n_threads]), 1e-12)
            for w, info in workers.items()
        }

    def pays(
        self,
        rows: Mapping[str, int],
        targets: Mapping[str, int],
        speeds: Mapping[str, float],
        row_bytes: float,
    ) -> bool:
        """Whether ``targets`` are better, and the rounds have lost by now what moving there costs."""
        before, after = (max(n / speeds[w] for w, n in held.items()) for held in (rows, targets))
        moving = sum(max(n - rows[w], 0) for w, n in targets.items())
        cost = MOVE_SECONDS + moving * row_bytes / self.bandwidth
        return after * TOLERATED_IMBALANCE < before and self.lost > cost

    def has_moved(self, nbytes: int, seconds: float) -> None:
        """After a move: what it took. The count of losses begins anew."""
        self.lost = 0.0
        if seconds > MOVE_SECONDS and nbytes:
            self.bandwidth = math.sqrt(self.bandwidth * nbytes / seconds)


def rows_by_worker(event: RoundEvent) -> dict[str, int]:
    """Rows that each worker read in a round."""
    rows: dict[str, int] = {}
    for task in event.measured:
        rows[task.worker] = rows.get(task.worker, 0) + task.rows
    return rows


__all__ = ["MOVE_SECONDS", "Balancer", "moved", "rows_by_worker", "shares"]
