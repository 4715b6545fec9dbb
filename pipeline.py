"""Classic name of `syndiff pipeline`."""

from syndiff.commands.app import run

if __name__ == "__main__":
    run("pipeline")
