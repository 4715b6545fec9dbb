"""Tasks for executors, importable by worker processes."""

import os
import time

from syndiff.errors import StorageError


def square(number):
    return number * number


def stumble(number):
    """Fail on some numbers, each in another way."""
    if number == 2:
        raise StorageError("can't read two: it is odd")
    if number == 3:
        raise ZeroDivisionError("three by nothing")
    return number


def process(number):
    time.sleep(0.05)
    return os.getpid()


def die(number):
    """End the process, as the system does when memory runs out."""
    if number == 1:
        os._exit(9)
    return number


def wait(seconds):
    time.sleep(seconds)
    return seconds


def environment(name):
    return os.environ.get(name)
