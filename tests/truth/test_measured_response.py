"""Templates with TESS's measured response, made by the command from files, against the truth."""

import pytest
from rendered import check_products, check_templates, render

from benchmarks.prf_accuracy import SKIES, leftover
from benchmarks.skies import OFFSETS, Run, Sky, run_command


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """Where four tiles, two projections and four patches of the response meet; usual seeing."""
    sky = Sky("node", 1.2, "moffat", size_px=18, psf="prf")
    return render(sky, tmp_path_factory.mktemp("node"), None)


def test_stars_where_patches_of_the_response_meet(node):
    check_templates(node, None)


def test_headers_say_which_response(node):
    for product in node.products[None].values():
        header = product.header
        assert header["PSFMODEL"] == "prf"
        assert header["PRFSET"] == "tess2019107181902-prf-3-3"
        assert header["PRFDIR"].endswith("/prf/start_s0004/cam3_ccd3")
        assert header["PRFCUT"] == 1.5
        assert header["PRFLOST"] < 2e-5
        assert "PSFSIGMA" not in header


@pytest.mark.full
def test_two_workers_and_another_region(node, tmp_path):
    run = Run(psf_sigma=None, roi=node.sky.plan.field.grown(-3), cores=2)
    products = run_command(node.simulation, tmp_path, run)
    check_products(products, node.products[None])


def test_what_tess_sees_but_for_the_wings_of_ps1s_seeing(node):
    """Gaussians of the mean seeing are taken out; a Moffat profile has wings beyond them."""
    product = node.products[None][OFFSETS[0]]
    assert 1e-4 < leftover(product, node.simulation, offset=OFFSETS[0]).largest.max() < 5e-3


@pytest.mark.full
@pytest.mark.parametrize("sky", SKIES, ids=str)
def test_every_place_and_seeing(sky, tmp_path):
    check_templates(render(sky, tmp_path, None), None)
