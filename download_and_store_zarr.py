"""Classic name of `syndiff download`."""

from syndiff.cli import run

if __name__ == "__main__":
    run("download")
