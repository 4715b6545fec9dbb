"""Classic name of `syndiff mapping`."""

from syndiff.commands.app import run

if __name__ == "__main__":
    run("mapping")
