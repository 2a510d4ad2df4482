"""Every command in the README and the guide works: robot-wm lines compose, make verbs exist."""

import re
import shlex
from pathlib import Path

import pytest

from robot_wm import cli

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md")


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def commands(program: str) -> list[str]:
    lines = [
        line for page in PAGES for block in fenced(page, "bash") for line in block.splitlines()
    ]
    return [line.split(" #")[0].strip() for line in lines if line.startswith(program + " ")]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_opens_with_the_two_commands() -> None:
    first = fenced("README.md", "bash")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]


def test_the_extraction_finds_something() -> None:
    assert len(commands("robot-wm")) >= 8


@pytest.mark.parametrize("line", commands("robot-wm"))
def test_robot_wm_commands_compose(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    assert cli.main([*shlex.split(line)[1:], "--dry-run"]) == 0


def test_commands_of_the_help_text_compose() -> None:
    for line in cli.EXAMPLES.splitlines():
        words = shlex.split(line.strip())[1:]
        kept = [words[0], *(w for w in words[1:] if "=" in w)]
        assert cli.main([*kept, "--dry-run"]) == 0, line


@pytest.mark.parametrize("line", commands("make"))
def test_make_targets_exist(line: str) -> None:
    assert line.split()[1] in make_targets()


def test_promised_verbs_exist() -> None:
    assert {"demo", "test", "lint", "results", "bench", "setup"} <= make_targets()


def test_ci_runs_lint_and_test() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert [line for line in script.read_text().splitlines() if line.startswith("make")] == [
        "make lint",
        "make test",
    ]


def test_inner_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
            # docs/results.md is generated; its generator is tested elsewhere.
            assert (ROOT / target).exists() or target == "docs/results.md", (page, target)


def test_python_examples_use_real_names() -> None:
    import importlib

    blocks = fenced("README.md", "python")
    assert len(blocks) == 2
    for code in blocks:
        compile(code, "README.md", "exec")
        for module, names in re.findall(r"^from (\S+) import (.+)$", code, re.MULTILINE):
            for name in names.split(", "):
                assert hasattr(importlib.import_module(module), name), (module, name)
