"""Who may import whom: the layers of the package, and what importing it costs."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import syndiff

PACKAGE = Path(syndiff.__file__).parent
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"

GROUND = {
    *("config", "constants", "errors", "layout", "masks", "positions", "settings"),
    *("storage.place", "storage.records", "values", "window"),
}
KERNEL_LIBRARIES = {"llvmlite", "math", "numba", "numpy"}
HOW_KERNELS_COMPILE = {"kernels.compile", "kernels.warm"}
PACKAGES = (
    *("storage", "transport", "kernels", "ffi", "frames", "sky", "stacks", "stars", "scenes"),
    *("templates", "pointing", "differences", "lightcurves", "stages"),
)
"""From the bottom up: each may import those before it. The simulation has a rule of its own."""
STAGES = {
    f"stages.{name}"
    for name in (
        *("mapping", "download", "process", "downsample", "difference", "export", "lightcurve"),
    )
}
ABOVE_STAGES = {
    "pipeline",
    "target_run",
    "images",
    "ccd",
    "commands.app",
    "commands.display",
    "simulation.demo",
}
SHOWS_THE_PIPELINE = {"simulation.accuracy", "simulation.demo"}
"""Modules of the simulation's wing that use the pipeline; the sky and its truth don't."""
# The simulation tests the pipeline, so it may share geometry's names and the sky's pixels only.
SIMULATION_MAY_USE = {
    *GROUND,
    *("execution", "sky.tessellation"),
    *("kernels.fine_grid", "kernels.gaussians", "kernels.rice_encoder"),
}
LIBRARIES = {
    "distributed": {"execution"},
    "isal": {"stacks.fitstiles", "stacks.packed"},
    "matplotlib": {"lightcurves.figure", "plots"},
    "mocpy": {"sky.footprint_files"},
    "numcodecs": {"storage.zarr_groups"},
    "obstore": {"storage.place", "transport.s3"},
    "rich": {"commands.display"},
    "sep": {"stacks.detection"},
    "tess_stars2px": {"sky.pointings"},
    "tesswcs": {"simulation.ffi"},
    "typer": {"commands.app", "commands.options", "commands.display", "commands.where"},
    "urllib3": {"transport.http", "transport.service"},
    "zarr": {"scenes.store", "storage.place", "storage.zarr_groups"},
}
HEAVY = {*LIBRARIES, "astropy", "dask", "numba", "numpy", "scipy"} - {"typer"}


def is_typing_only(node):
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def imports_in(node):
    """The modules that running this node imports, sooner or later; not those for types alone."""
    found = set()
    for child in ast.iter_child_nodes(node):
        if is_typing_only(child):
            continue
        if isinstance(child, ast.Import):
            found |= {alias.name for alias in child.names}
        elif isinstance(child, ast.ImportFrom):
            found |= {f"{child.module}.{alias.name}" for alias in child.names}
        found |= imports_in(child)
    return found


@cache
def modules():
    """Module name without the package -> what it imports, names of modules and of their parts."""
    return {
        module_name(path.relative_to(PACKAGE)): imports_in(ast.parse(path.read_text("utf-8")))
        for path in PACKAGE.rglob("*.py")
    }


def module_name(path):
    """A package goes by its folder's name."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def uses(name):
    """The package's own modules that one of them imports."""
    inside = {item.removeprefix("syndiff.") for item in modules()[name] if "syndiff." in item}
    return {module_of(item) for item in inside} - {name, None}


def module_of(item):
    """The module that an imported name stands in: the longest that it begins with."""
    parts = item.split(".")
    names = [".".join(parts[:k]) for k in range(len(parts), 0, -1)]
    return next((name for name in names if name in modules()), None)


def libraries(name):
    return {item.split(".")[0] for item in modules()[name]} - {"syndiff"}


def test_imports_are_seen():
    assert {"errors", "kernels.coding"} <= uses("stacks.coding")
    assert "distributed" in libraries("execution")


def test_no_module_imports_itself_in_a_circle():
    left = {name: uses(name) for name in modules()}
    while left:
        free = {name for name, needed in left.items() if not needed & set(left)}
        assert free, f"these import each other in circles: {sorted(left)}"
        left = {name: needed for name, needed in left.items() if name not in free}


@pytest.mark.parametrize("name", sorted(GROUND))
def test_ground_stands_on_ground(name):
    assert uses(name) <= GROUND


def test_kernels_import_kernels_and_numba():
    for name in modules():
        if name.startswith("kernels."):
            others = uses(name) - ({"storage.user_cache"} if name in HOW_KERNELS_COMPILE else set())
            assert all(other.startswith("kernels") for other in others), name
            allowed = KERNEL_LIBRARIES | (
                set(sys.stdlib_module_names) if name in HOW_KERNELS_COMPILE else {"typing"}
            )
            assert libraries(name) - {"__future__"} <= allowed, name


def test_kernels_share_one_cache():
    kernels = {name for name in modules() if name.startswith("kernels.")} - HOW_KERNELS_COMPILE
    assert not any("numba.njit" in modules()[name] for name in kernels)


def test_numba_stays_in_kernels():
    assert all(n.startswith("kernels.") for n in modules() if "numba" in libraries(n))


@pytest.mark.parametrize("name", sorted(STAGES))
def test_stages_do_not_know_each_other(name):
    assert not uses(name) & (STAGES | ABOVE_STAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_stand_on_those_before_them(package):
    allowed = {*PACKAGES[: PACKAGES.index(package)], package}
    for name in modules():
        if name.split(".")[0] == package:
            used = {other.split(".")[0] for other in uses(name)} & {*PACKAGES, "simulation"}
            assert used <= allowed, name


def test_every_folder_is_known():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == {*PACKAGES, "commands", "simulation"}


def test_only_the_top_knows_stages():
    for name in set(modules()) - ABOVE_STAGES:
        assert not uses(name) & STAGES, name


def test_simulation_shares_no_code_with_the_pipeline():
    for name in modules():
        if name.split(".")[0] == "simulation" and name not in SHOWS_THE_PIPELINE:
            others = {o for o in uses(name) if o.split(".")[0] != "simulation"} - {"kernels"}
            assert others <= SIMULATION_MAY_USE, name


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_library_has_its_home(library):
    assert {n for n in modules() if library in libraries(n)} <= LIBRARIES[library]


@pytest.mark.skipif(not PYPROJECT.exists(), reason="pyproject.toml belongs to a source tree")
def test_dependencies_are_those_imported():
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = {name_of(item) for item in project["dependencies"]}
    declared = {"tess_stars2px" if name == "tess_point" else name for name in declared}
    optional = {name_of(item) for item in extras["tesswcs"]}
    imported = {library for name in modules() for library in libraries(name)} - {"llvmlite"}
    assert imported - set(sys.stdlib_module_names) == declared | optional


def name_of(requirement):
    return requirement.split(">")[0].split("<")[0].split("[")[0].strip().replace("-", "_")


HELP = """
import contextlib, sys
from syndiff.commands.app import run
sys.argv = ["syndiff", "--help"]
with contextlib.suppress(SystemExit):
    run()
"""


@pytest.mark.parametrize("code", ["import syndiff", "import syndiff.commands.app", HELP])
def test_light_start(code):
    heavy = HEAVY - {"rich"} if code == HELP else HEAVY  # typer draws its help with rich
    script = f"{code}\nimport sys; sys.stderr.write(repr(set(sys.modules) & {heavy}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == "set()"


FLAG = re.compile(r"(?<![\w-])--[a-z]")


@pytest.mark.parametrize("name", sorted(n for n in modules() if n.split(".")[0] != "commands"))
def test_the_library_names_settings_and_only_commands_name_flags(name):
    path = PACKAGE.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(path.read_text("utf-8")) if path.exists() else ast.parse("")
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    assert not [text for text in texts if isinstance(text, str) and FLAG.search(text)]
