"""Several of these programs in one process, one after another; each is an argument, with its options."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Run each as if it had been given these options."""
    for program in sys.argv[1:]:
        name, *sys.argv[1:] = program.split()
        importlib.import_module(f"tests.helpers.trainings.{name}").main()


if __name__ == "__main__":
    main()
