"""Classic name of `syndiff process`."""

from syndiff.commands.app import run

if __name__ == "__main__":
    run("process")
