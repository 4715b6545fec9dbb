"""Classic name of `syndiff mapping`."""

from syndiff.cli import run

if __name__ == "__main__":
    run("mapping")
