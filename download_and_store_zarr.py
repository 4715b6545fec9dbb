"""Classic name of `syndiff download`."""

from syndiff.commands.app import run

if __name__ == "__main__":
    run("download")
