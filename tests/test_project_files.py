"""Files around the code: they can be read, and what they name exists."""

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import keyface

ROOT = Path(__file__).parents[1]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
FIELDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
MAKEFILE = (ROOT / "Makefile").read_text()


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    "form", [form for form in FORMS if form.stem != "config"], ids=lambda form: str(form.stem)
)
def test_issue_forms_have_what_github_asks_for(form: Path) -> None:
    content = read_yaml(form)
    assert content["name"]
    assert content["description"]
    assert {field["type"] for field in content["body"]} <= FIELDS
    asked = [field for field in content["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in asked)
    assert len({field["id"] for field in asked}) == len(asked)


def test_there_is_a_form_for_bug_feature_and_category() -> None:
    assert [form.stem for form in FORMS] == ["bug", "category", "config", "feature"]


def test_the_workflow_runs_what_a_person_runs_on_supported_pythons() -> None:
    job = read_yaml(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for version in job["strategy"]["matrix"]["python"]:
        assert f"Programming Language :: Python :: {version}" in setup["metadata"]["classifiers"]


def test_hooks_call_what_is_installed_or_made() -> None:
    (local,) = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local", "a hook from elsewhere would be fetched"
    for hook in local["hooks"]:
        program, *words = hook["entry"].split()
        if program == "make":
            assert re.search(rf"^{words[0]}:", MAKEFILE, flags=re.MULTILINE)
        else:
            assert program.startswith(".venv/bin/")


def test_changelog_and_citation_say_the_version_and_the_day() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    newest = re.search(r"^## \[(.+?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None
    assert newest.groups() == (keyface.__version__, str(citation["date-released"]))
    assert citation["version"] == keyface.__version__
    assert "2501.07530" in str(citation["references"])


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md", ".github/PULL_REQUEST_TEMPLATE.md"])
def test_links_and_make_targets_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in link or (ROOT / link).exists(), link
    for target in re.findall(r"`make ([a-z]+)", text):
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE), target
