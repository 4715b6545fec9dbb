"""Classic name of `syndiff process`."""

from syndiff.cli import run

if __name__ == "__main__":
    run("process")
