"""Run the benchmarks and write ``benchmarks/README.md``: ``python -m benchmarks [name ...]``."""

from __future__ import annotations

import argparse
import datetime
import importlib
from pathlib import Path

from benchmarks.harness import machine

NAMES = ("logistic", "rounds", "first_fit")
REPORT = Path(__file__).with_name("README.md")

HEAD = """# Benchmarks

Written by `make bench`; every figure below comes from one run on one machine. Cases run in turn and medians
are quoted: the ratios carry over to other machines, the seconds do not. Every comparison is at equal quality
of the result, which is printed, with both libraries on all cores, beside the floor that the hardware sets.

"""


def main() -> None:
    """Run the named benchmarks, all by default; only a full run writes the report."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="which (all)")
    names = parser.parse_args().names or NAMES
    sections = []
    for name in names:
        sections.append(importlib.import_module(f"benchmarks.{name}").report())
        print(sections[-1], flush=True)
    if tuple(names) == NAMES:
        when = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        REPORT.write_text(HEAD + f"{when}. {machine()}\n\n" + "\n".join(sections), encoding="utf-8")
        print(f"written: {REPORT}")


if __name__ == "__main__":
    main()
