"""Errors go from worker to worker and are what they say."""

import pickle

import pytest

from syndiff import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_survive_pickling(name):
    error = getattr(errors, name)("what: the value, what was allowed, what to do")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("ConfigError", ValueError),
        ("StorageError", OSError),
        ("SyndiffWarning", UserWarning),
        ("SkycellNotFoundError", errors.ArchiveError),
        ("ArchiveUnavailableError", errors.ArchiveError),
        ("CorruptDownloadError", errors.ArchiveError),
        ("IncompleteAtlasError", errors.AtlasError),
    ],
)
def test_errors_are_also_what_callers_catch(name, base):
    assert issubclass(getattr(errors, name), base)


def test_every_error_has_the_common_base_and_is_listed():
    found = {
        name
        for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, errors.SyndiffError)
    }
    assert found | {"SyndiffWarning"} == set(errors.__all__)
