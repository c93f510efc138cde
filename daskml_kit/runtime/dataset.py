"""The resident data of one fit: bundles on workers, and what the driver may know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import distributed

from daskml_kit.runtime.ingest import DataFacts


@dataclass(frozen=True, eq=False)
class BundleRef:
    """A resident bundle: a handle to it and its size. Never the rows themselves on a cluster."""

    handle: Any  # a Bundle in this process, a future of one on a cluster
    worker: str
    n_rows: int
    nbytes: int
    n_blocks: int


@dataclass(eq=False)
class BlockDataset:
    """Checked, aligned, resident blocks. Made by :func:`~daskml_kit.runtime.opening.open_dataset`.

    Use it as a context manager: leaving the block releases everything it holds on the cluster.

    Attributes
    ----------
    bundles : where the rows are; changes when rows move between workers
    facts : what the driver knows of the rows
    fixed : whether the bundles are groups of rows that the fit asked for, never to be cut anew
    drawn : a sample of the rows that lies beside them, where the fit asked for one
    """

    bundles: list[BundleRef]
    facts: DataFacts
    fixed: bool = False
    drawn: BlockDataset | None = None

    def replaced(self, handles: Sequence[Any]) -> BlockDataset:
        """A data set of other bundles at the same places, as :meth:`Executor.map` returns it."""
        pairs = zip(self.bundles, handles, strict=True)
        return BlockDataset([replace(b, handle=h) for b, h in pairs], self.facts, self.fixed)

    def release(self) -> None:
        """Let go of the bundles. The caller's own collections are not touched."""
        for bundle in self.bundles:
            if isinstance(bundle.handle, distributed.Future):
                bundle.handle.release()
        self.bundles = []
        if self.drawn is not None:
            self.drawn.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


__all__ = ["BlockDataset", "BundleRef"]
