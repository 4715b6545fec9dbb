"""What users see: results on stdout, everything else on stderr, and an exit code."""

import json
import shutil
import subprocess
import sys
import warnings

import pytest
from commands import ROI, invoke, pipeline, report, start, template_path

from syndiff.commands.display import terminal
from syndiff.errors import SyndiffWarning
from syndiff.stacks.archive import stack_path

STAGES = ["mapping", "download", "process", "downsample"]


def test_json_is_complete(small_sky, root):
    result = invoke(*pipeline(small_sky, root), "--overwrite", "--json")
    content = json.loads(result.stdout)
    assert result.stderr == ""
    assert (content["sector"], content["camera"], content["ccd"]) == (20, 3, 3)
    assert content["partial"] is False
    assert [stage["stage"] for stage in content["stages"]] == STAGES
    for stage in content["stages"]:
        assert stage["seconds"] > 0
        assert stage["skipped"] is False
        assert stage["counts"]
    *_, downsample = content["stages"]
    assert downsample["products"] == [str(template_path(root))]
    assert downsample["figures"]["coverage"] == 1


def test_summary(small_sky, root):
    result = invoke(*pipeline(small_sky, root), "--overwrite")
    text = " ".join(result.stdout.split())
    for word in (*STAGES, "skycells reduced now 8", "tiles rendered 2", "templates made 1"):
        assert word in text
    assert "downsample: coverage 100 %" in text
    assert result.stdout.splitlines()[-1] == str(template_path(root))
    assert result.stderr == ""


def test_coverage_of_templates_that_were_there(small_sky, root):
    made = report(*pipeline(small_sky, root), "--overwrite")["stages"]["downsample"]
    kept = report(*pipeline(small_sky, root))["stages"]["downsample"]
    assert kept["skipped"]
    assert kept["figures"] == made["figures"]


def test_what_is_missing_is_told(small_sky, tmp_path):
    archive = shutil.copytree(small_sky.archive, tmp_path / "archive", symlinks=True)
    for plane in ("image", "variance", "mask"):
        (archive / stack_path("skycell.0001.001", "y", plane)).unlink()
        for band in "rizy":
            (archive / stack_path("skycell.0002.001", band, plane)).unlink()
    result = invoke(*pipeline(small_sky, tmp_path / "data", archive=archive))
    assert "download: absent in the archive: skycell.0002.001" in result.stdout
    assert "download: skycell.0001.001: no y band" in result.stdout
    assert "downsample: made without skycell.0002.001: absent" in result.stdout
    assert "downsample: made without band y of skycell.0001.001: absent" in result.stdout


@pytest.mark.parametrize(
    ("flags", "level"),
    [(("-v",), "INFO"), (("--verbose",), "INFO"), (("-vv",), "DEBUG"), (("-v", "-v"), "DEBUG")],
)
def test_log_goes_to_stderr(small_sky, root, flags, level):
    result = invoke("process", 20, 3, 3, "--data-root", root, "--roi", ROI, "--cores", 1,
                    "--overwrite", "--json", *flags)  # fmt: skip
    json.loads(result.stdout)
    assert "process: 1 tasks" in result.stderr
    assert "rows 15-15 of tiles: done" in result.stderr or level == "INFO"
    assert ("DEBUG" in result.stderr) == (level == "DEBUG")


def test_piped_output_of_a_real_process(small_sky, root):
    """No progress bar, colour, warning or log in pipes."""
    process = start(*pipeline(small_sky, root), "--overwrite", "--json", PYTHONWARNINGS="default")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    assert errors == ""
    assert json.loads(output)["stages"][3]["products"] == [str(template_path(root))]
    assert "\x1b" not in output


def test_closed_pipe(small_sky, root):
    """`syndiff ... | head -1` is no accident."""
    command = " ".join(map(str, pipeline(small_sky, root)))
    done = subprocess.run(
        f"set -o pipefail; {sys.executable} -m syndiff {command} | true",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr


class TestWarnings:
    def test_our_own_are_shown(self, capsys):
        with warnings.catch_warnings(), terminal(0, as_json=False):
            warnings.simplefilter("always")
            warnings.warn("the sky is falling", SyndiffWarning, stacklevel=1)
        assert "the sky is falling" in capsys.readouterr().err

    @pytest.mark.parametrize(("verbose", "shown"), [(0, False), (1, False), (2, True)])
    def test_those_of_libraries_are_for_debugging(self, capsys, verbose, shown):
        with warnings.catch_warnings(), terminal(verbose, as_json=False):
            warnings.simplefilter("always")
            warnings.warn("something about FITS", UserWarning, stacklevel=1)
        assert ("something about FITS" in capsys.readouterr().err) == shown


def test_options_of_regions_agree(small_sky, root):
    """The region of interest is part of the product's name."""
    assert template_path(root).name.endswith(f"_{str(ROI).replace(',', '-')}.fits")


ASCII_LOCALE = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("locale", "shown"),
    [(ASCII_LOCALE, "/donn\u00e9es/templates/"), ({}, r"/donn\xe9es/templates/")],
    ids=["bytes as they are", "escaped"],
)
def test_output_without_unicode_shows_every_path(small_sky, tmp_path, locale, shown):
    """A batch job's log is ASCII now and then; its templates are made all the same."""
    root = tmp_path / "donn\u00e9es"
    process = start(*pipeline(small_sky, root), PYTHONIOENCODING="ascii", **locale)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert shown in output
