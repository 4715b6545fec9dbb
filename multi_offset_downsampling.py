"""Classic name of `syndiff downsample`."""

from syndiff.commands.app import run

if __name__ == "__main__":
    run("downsample")
