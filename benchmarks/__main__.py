"""Run benchmarks, and write their sections of the report: ``python -m benchmarks [name ...]``."""

from __future__ import annotations

import argparse
import datetime
import importlib
import re
from pathlib import Path

from benchmarks.harness import machine

NAMES = (
    "logistic",
    "multinomial",
    "sparse_logistic",
    "solvers",
    "elastic_net_cv",
    "glm",
    "wide",
    "kmeans",
    "kmeans_large",
    "bagging",
    "forest",
    "voting",
    "boosting",
    "rounds",
    "balance",
    "recording",
    "first_fit",
)
REPORT = Path(__file__).with_name("README.md")

HEAD = """# Benchmarks

Written by `make bench` (`python -m benchmarks NAME` renews one section). The cases of a section come from one
run on one machine, in turn, and medians are quoted: the ratios carry over to other machines, the seconds do
not. Every comparison is at equal quality of the result, which is printed, with both libraries on all cores,
beside the floor that the hardware sets.

"""
MARK = "<!-- {} -->"


def main() -> None:
    """Run the named benchmarks, all by default, and renew their sections of the report."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="which (all)")
    when = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    for name in parser.parse_args().names or NAMES:
        section = importlib.import_module(f"benchmarks.{name}").report().strip()
        print(section, flush=True)
        written = sections()
        written[name] = f"{section}\n\n{when}. {machine()}\n"
        body = "\n".join(f"{MARK.format(n)}\n{written[n]}" for n in NAMES if n in written)
        REPORT.write_text(HEAD + body, encoding="utf-8")


def sections() -> dict[str, str]:
    """The sections of the report as it is, by benchmark."""
    text = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    parts = re.split(MARK.format(r"(\w+)"), text)[1:]
    return {name: body.strip() + "\n" for name, body in zip(parts[::2], parts[1::2], strict=True)}


if __name__ == "__main__":
    main()
