"""The command line: ``daskml-kit demo``, ``daskml-kit compile``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from daskml_kit import __version__
from daskml_kit.exceptions import DaskMLKitError


def parser() -> argparse.ArgumentParser:
    """The argument parser of ``daskml-kit``."""
    top = argparse.ArgumentParser(
        prog="daskml-kit", description="Machine learning over Dask blocks."
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="train on real data on a cluster and compare with scikit-learn",
        description="Trains k-means on a photograph's pixels, multinomial logistic regression and a "
        "block-wise ensemble on digits, and ridge on diabetes, each beside scikit-learn on the same split.",
    )
    demo.add_argument(
        "--workers", type=_positive, default=2, metavar="N", help="local processes (2)"
    )
    demo.add_argument(
        "--scheduler", metavar="ADDRESS", help="run on this cluster, for example tcp://host:8786"
    )
    demo.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="where to write (here)"
    )
    commands.add_parser(
        "compile",
        help="compile all kernels into the cache",
        description="Compiles every kernel for dense and sparse, double and single precision data and keeps "
        "it on this machine, so that no first fit waits. For images of workers, and after an upgrade.",
    )
    return top


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status. An error of ours is one line, without a traceback."""
    arguments = parser().parse_args(argv)
    try:
        return _run(arguments)
    except DaskMLKitError as error:
        print(error, file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "compile":
        from daskml_kit.cli.compile import run_compile

        return run_compile()
    from daskml_kit.cli.demo import run_demo

    return run_demo(arguments.scheduler, arguments.workers, arguments.output)


__all__ = ["main", "parser"]
