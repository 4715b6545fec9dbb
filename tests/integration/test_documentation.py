"""The commands, options and links of README and docs are real; the quickstart runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from syndiff.commands.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = {
    "pipeline.py": "pipeline",
    "pancakes_v2.py": "mapping",
    "download_and_store_zarr.py": "download",
    "process_ps1.py": "process",
    "multi_offset_downsampling.py": "downsample",
}
QUICKSTART = ROOT / "docs" / "quickstart.md"
COMMANDS = typer.main.get_command(app).commands

pytestmark = pytest.mark.skipif(not QUICKSTART.exists(), reason="docs belong to a source tree")


def page_name(page):
    return page.name


def options_of(command):
    names = [name for parameter in COMMANDS[command].params for name in parameter.opts]
    others = [name for parameter in COMMANDS[command].params for name in parameter.secondary_opts]
    return {"--help", *(name for name in names + others if name.startswith("-"))}


def options_of_benchmarks():
    sources = (path.read_text("utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    return {name for text in sources for name in re.findall(r'add_argument\("(--[a-z-]+)"', text)}


def blocks(page, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def told_commands(page):
    """Yield (command, options) of every line that calls syndiff or a script, in code or a block."""
    text = page.read_text("utf-8")
    code = re.findall(r"^    .*$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
    code += [line for block in blocks(page, "bash") for line in block.splitlines()]
    for line in (part for told in code for part in told.split("&&")):
        match = re.match(r"\s*(?:python )?(syndiff|\w+\.py) +(.*)", line)
        if match is None:
            continue
        name = SCRIPTS.get(match[1]) or match[2].split()[0]
        if match[1] == "syndiff" or match[1] in SCRIPTS:
            yield name, re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", match[2])


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_are_real(page):
    for command, options in told_commands(page):
        if command in {"COMMAND", "--help", "--version"}:
            continue
        assert command in COMMANDS, f"{page.name}: syndiff {command}"
        known = {name.replace("_", "-") for name in options_of(command)}
        unknown = {o.replace("_", "-") for o in options} - known
        assert not unknown, f"{page.name}: syndiff {command} has no {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_options_in_text_are_real(page):
    known = {name.replace("_", "-") for command in COMMANDS for name in options_of(command)}
    known |= {"--version", "--kebab-case", "--snake-case"} | options_of_benchmarks()
    told = re.findall(r"`(--[a-z][\w-]*)", page.read_text("utf-8"))
    assert {name.replace("_", "-") for name in told} <= known


def test_every_command_is_in_the_readme():
    text = (ROOT / "README.md").read_text("utf-8")
    assert [name for name in COMMANDS if f"`syndiff {name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([\w./-]+\.md)?(?:#([\w-]+))?\)", page.read_text()):
        other = page.parent / target if target else page
        assert other.is_file(), target
        headings = re.findall(r"^#+ (.*)$", other.read_text("utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
        assert not anchor or anchor in anchors, f"{target}#{anchor}"


def test_quickstart_runs(tmp_path):
    lines = [line for block in blocks(QUICKSTART, "bash") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("syndiff ")]
    assert {words[1] for words in commands} >= {"simulate", "pipeline", "downsample"}
    for words in commands:
        run(tmp_path, [sys.executable, "-m", *words])
    for code in blocks(QUICKSTART, "python"):
        assert "(16, 16)" in run(tmp_path, [sys.executable, "-c", code])


def run(folder, words):
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout
