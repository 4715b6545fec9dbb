"""Classic name of `syndiff pipeline`."""

from syndiff.cli import run

if __name__ == "__main__":
    run("pipeline")
