"""Classic name of `syndiff downsample`."""

from syndiff.cli import run

if __name__ == "__main__":
    run("downsample")
