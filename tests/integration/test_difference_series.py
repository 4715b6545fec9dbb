"""`syndiff difference` on many FFIs at once."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from commands import invoke, refused, template_path
from differencesky import ROI, write_later

import syndiff


@pytest.fixture(scope="module")
def frames(starry, tmp_path_factory):
    """Three FFIs, each pointed elsewhere."""
    _, _, stars = starry
    folder = tmp_path_factory.mktemp("frames")
    return [
        write_later(folder, stars, cadences=k, pointing_px=(0.1 * k, -0.07 * k), seed=k)
        for k in (1, 2, 3)
    ]


def series(starry, ffis, folder, *options, code=0):
    """Run the command; returns the report's stage."""
    root, _, _ = starry
    arguments = (*ffis, template_path(root, roi=ROI), "--data-root", root, "--output", folder)
    done = invoke("difference", *arguments, *options, "--json", code=code)
    return json.loads(done.stdout)["stages"][0]


def difference_of(folder, ffi):
    (path,) = folder.glob(f"syndiff_difference_{ffi.stem}*.fits")
    return path


def planes_of(path):
    with fits.open(path, checksum=True) as hdus:
        return {hdu.name: np.array(hdu.data) for hdu in hdus[1:]}


@pytest.fixture(scope="module")
def made(starry, frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return folder, series(starry, frames, folder)


def test_each_is_bitwise_what_it_is_alone(starry, frames, made, tmp_path):
    folder, stage = made
    root, _, _ = starry
    assert stage["counts"] == {"differences made": 3, "differences kept": 0}
    for ffi in frames[1:]:
        single = tmp_path / "d.fits"
        template = template_path(root, roi=ROI)
        invoke("difference", ffi, template, "--data-root", root, "--output", single)
        alone, together = planes_of(single), planes_of(difference_of(folder, ffi))
        for name, plane in alone.items():
            np.testing.assert_array_equal(together[name], plane)


def test_the_table_has_a_row_for_each(frames, made):
    folder, stage = made
    table = Table.read(folder / "syndiff_differences_s0020_3_3.ecsv")
    assert list(table["ffi"]) == [ffi.name for ffi in frames]
    assert stage["products"][1].endswith("syndiff_differences_s0020_3_3.ecsv")
    for row, ffi in zip(table, frames, strict=True):
        header = fits.getheader(difference_of(folder, ffi))
        assert row["zero_point_ab"] == header["ZPAB"]
        assert row["tstart"] == header["TSTART"]
    # No figures of stars but on demand.
    assert sorted(p.suffix for p in folder.iterdir()) == [".ecsv", *[".fits"] * 3]


def test_what_is_there_is_kept_and_what_is_not_whole_is_made_again(starry, frames, made, tmp_path):
    folder = shutil.copytree(made[0], tmp_path / "again")
    assert series(starry, frames, folder)["skipped"]
    whole, cut = (difference_of(folder, ffi) for ffi in frames[:2])
    content = cut.read_bytes()
    cut.write_bytes(content[:-2880])
    times = [path.stat().st_mtime_ns for path in (whole, cut)]
    stage = series(starry, frames, folder)
    assert stage["counts"] == {"differences made": 1, "differences kept": 2}
    assert cut.read_bytes() == content
    assert whole.stat().st_mtime_ns == times[0]
    assert series(starry, frames, folder, "--overwrite")["counts"]["differences made"] == 3


def test_another_ffi_of_the_same_name_is_not_taken_for_it(starry, frames, made, tmp_path):
    folder = shutil.copytree(made[0], tmp_path / "again")
    changed = shutil.copy(frames[0], tmp_path / frames[0].name)
    with fits.open(changed, mode="update") as hdus:
        hdus[1].data[1040, 1040] += 500
    stage = series(starry, [changed, frames[1]], folder)
    assert stage["counts"] == {"differences made": 1, "differences kept": 1}
    before, after = (planes_of(difference_of(f, frames[0]))["DIFF"] for f in (made[0], folder))
    place = 1040 - ROI.y0, 1040 - ROI.x0
    assert after[place] - before[place] == pytest.approx(500, abs=5)


def test_one_that_fails_does_not_stop_the_others(starry, frames, made, tmp_path):
    broken = tmp_path / frames[0].name.replace("tess2020011", "tess2020012")
    broken.write_bytes(frames[0].read_bytes()[:100_000])
    root, _, _ = starry
    template = template_path(root, roi=ROI)
    arguments = (broken, *frames[1:], template, "--data-root", root, "--output", tmp_path / "o")
    done = invoke("difference", *arguments, code=1)
    assert f"1 of 3 FFIs failed, {broken.name}: " in done.stderr
    assert "is truncated" in done.stderr
    for ffi in frames[1:]:
        expected = difference_of(made[0], ffi).read_bytes()
        assert difference_of(tmp_path / "o", ffi).read_bytes() == expected
    stage = series(starry, [broken, *frames], tmp_path / "o", "--allow-partial", code=3)
    assert stage["counts"]["FFIs failed"] == 1
    assert stage["counts"]["differences kept"] == 2


def test_a_folder_stands_for_its_ffis(starry, frames, tmp_path):
    (tmp_path / "ffis").mkdir()
    for ffi in frames[:2]:
        shutil.copy(ffi, tmp_path / "ffis")
    (tmp_path / "ffis" / "notes.txt").write_text("no FFI")
    stage = series(starry, [tmp_path / "ffis"], tmp_path / "o")
    assert stage["counts"]["differences made"] == 2
    (tmp_path / "empty").mkdir()
    root, _, _ = starry
    line = refused("difference", tmp_path / "empty", template_path(root, roi=ROI), code=2)
    assert "holds no FFI" in line


def test_compressed_planes_are_rounded_to_an_eighth_of_the_noise(starry, frames, made, tmp_path):
    series(starry, frames[:2], tmp_path, "--compress", "rice")
    path = difference_of(tmp_path, frames[0])
    full = difference_of(made[0], frames[0])
    # Headers are most of a file so small.
    assert path.stat().st_size < full.stat().st_size - 20_000
    packed, plain = planes_of(path), planes_of(full)
    step = fits.getheader(path)["ROUNDED"]
    assert step == pytest.approx(np.nanmedian(plain["UNCERT"]) / 8, rel=0.05)
    for name in ("DIFF", "UNCERT", "MODEL", "BACKGROUND"):
        np.testing.assert_array_equal(np.isnan(packed[name]), np.isnan(plain[name]))
        np.testing.assert_allclose(packed[name], plain[name], atol=0.51 * step)
    np.testing.assert_array_equal(packed["DQ"], plain["DQ"])
    image = syndiff.DifferenceImage.read(path)
    np.testing.assert_allclose(image.data, plain["DIFF"], atol=0.51 * step)
    assert image.data.dtype == np.float32


def test_model_and_background_may_be_left_out(starry, frames, made, tmp_path):
    series(starry, frames[:2], tmp_path, "--planes", "difference", "--residuals", "all")
    path = difference_of(tmp_path, frames[1])
    lean, plain = planes_of(path), planes_of(difference_of(made[0], frames[1]))
    assert set(lean) == {"DIFF", "UNCERT", "DQ", "KERNEL"}
    np.testing.assert_array_equal(lean["DIFF"], plain["DIFF"])
    assert np.isnan(syndiff.DifferenceImage.read(path).model).all()
    assert path.with_name(f"{path.stem}_stars.ecsv").exists()
    assert path.with_name(f"{path.stem}_stars.png").exists()


def test_several_need_a_folder(starry, frames):
    root, _, _ = starry
    line = refused(
        *("difference", *frames, template_path(root, roi=ROI), "--data-root", root),
        *("--output", "d.fits"),
        code=2,
    )
    assert "is a file, there are several FFIs: give a folder" in line
