"""The rows in pieces, for rounds whose answers depend on which rows are looked at together.

A piece is a range of global rows. How many there are, and where they are cut, follows from the size of the
data and what a piece needs alone: so an answer depends on neither chunks, workers nor executor. Each piece is
one block on one worker; rows at its ends that were elsewhere are moved there once, when the data are opened.
Linear models compute locally on them (ADMM, GIANT, CoCoA+), trees let them vote (PV-Tree).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts

PIECES = 16
"""Pieces of data that fit few machines: enough for their threads, and few enough to resemble each other."""

PIECE_BYTES = 1 << 28
"""Most bytes of a piece, whatever their number: a worker holds it twice while it is joined."""


def even_edges(facts: DataFacts, least: int) -> list[int]:
    """First rows of pieces of at least so many rows, then the number of rows: for ``open_dataset(edges=)``.

    Parameters
    ----------
    facts : of the data
    least : rows of a piece, 1 or more

    Examples
    --------
    A number of rows cut evenly::

        200,000 rows, at least 1,000 each:  0, 12,500, 25,000, ... 200,000
    """
    n = max(min(PIECES, facts.n_rows // least), -(-facts.nbytes // PIECE_BYTES), 1)
    return [i * facts.n_rows // n for i in range(n + 1)]


def _join(bundle: Bundle, _: Any) -> Bundle:
    return bundle.joined()


def join(data: BlockDataset, executor: Executor) -> None:
    """Make each piece of data cut at such edges one block, in place of the several it had."""
    if any(bundle.n_blocks > 1 for bundle in data.bundles):
        pieces = executor.map(data, _join, None)
        data.release()
        data.bundles = [replace(piece, n_blocks=1) for piece in pieces.bundles]


__all__ = ["PIECES", "PIECE_BYTES", "even_edges", "join"]
