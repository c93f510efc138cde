"""Rounds over resident blocks: the only room that knows Dask. See ``docs/design.md``."""
