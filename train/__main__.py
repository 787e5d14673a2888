"""`landmarks-train`: fit, evaluate, export."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from train.config import ConfigError, load_config
from train.faces import FORMATS, DataError, DataSource

DATA_HELP = f"data set as FORMAT:PATH, FORMAT one of {', '.join(FORMATS)}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="landmarks-train",
        description="Train, evaluate and export landmark networks by heatmap regression with randomized rounding.",
        epilog="example: landmarks-train fit --data faces300w:../data/faces300w --out runs/compact",
    )
    commands = top.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit", help="train a network; stop with Ctrl-C, go on with --resume")
    fit.add_argument("--data", required=True, type=DataSource.parse, help=DATA_HELP)
    fit.add_argument("--config", default="compact", help="a TOML file, or a shipped configuration's name [%(default)s]")
    fit.add_argument("--out", required=True, type=Path, help="folder of the run: checkpoint, configuration, metrics")
    fit.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    fit.add_argument("--seed", type=int, help="replaces the configuration's seed")
    fit.add_argument("--workers", type=int, default=1, help="processes that prepare samples [%(default)s]")
    return top


def fit(args: argparse.Namespace) -> None:
    from train.loop import Run, TrainingError

    config = load_config(args.config, {} if args.seed is None else {"seed": args.seed})
    run = Run(config, args.data.train_faces(), args.out, args.workers)
    if args.resume:
        run.resume()
    elif run.checkpoint.exists():
        raise TrainingError(f"{run.checkpoint} exists: add --resume to go on from it, or choose another --out")
    run.train(args.data.test_faces())


def main() -> int:
    args = parser().parse_args()
    {"fit": fit}[args.command](args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
