"""What has to hold on every system that a reader may have, as far as one system can show it."""

import ast
import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from segedu import UNet
from segedu.checkpoint import load_model, load_training, save_checkpoint

ROOT = Path(__file__).parent.parent
OWN = {"chapters", "segedu", "study", "tests", "docs", "tools", "conftest"}


def sources(*folders):
    """The Python code of these folders, notebooks included, by file."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, path.read_text(encoding="utf-8")
        for path in sorted((ROOT / folder).rglob("*.ipynb")):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
            yield path, re.sub(r"^\s*[%!].*$", "", "\n".join(code), flags=re.M)


def imported(*folders):
    """The names of the packages that the code imports, without those of the standard library."""
    names = set()
    for _, source in sources(*folders):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return names


def needed(names):
    """These packages and all that they need on this system, without their extras."""
    found, to_do = set(), [canonicalize_name(name) for name in names]
    while to_do:
        if (name := to_do.pop()) not in found:
            found.add(name)
            for text in metadata.requires(name) or ():
                requirement = Requirement(text)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    to_do.append(canonicalize_name(requirement.name))
    return found


def listed(*groups):
    """The packages that pyproject.toml lists in a group, such as "dependencies" or an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups_of = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    names = {Requirement(text).name for group in groups for text in groups_of[group]}
    return names - {"segedu"}


def packages(modules):
    """The packages that bring these modules."""
    brought_by = metadata.packages_distributions()
    return {canonicalize_name(name) for module in modules for name in brought_by.get(module, ())}


def test_the_extra_for_chapters_brings_all_that_they_import():
    names = imported("chapters") - set(sys.stdlib_module_names) - OWN
    brought = needed(listed("dependencies", "chapters"))
    missing = {name for name in names if not packages([name]) & brought}
    assert {"torch", "monai", "sklearn"} <= names
    assert missing == set()


def test_no_package_is_listed_that_nothing_uses():
    used = packages(imported("chapters", "segedu", "study", "tests", "docs", "tools"))
    # The others are commands, plugins, or words in a file.
    files = ["_config.yml", "README.md", "CONTRIBUTING.md", ".ci/run"]
    files += [".ci/check_paper.py", "docs/pages.py", "tests/test_export.py"]
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in files).replace("_", "-")
    everything = listed("dependencies", "chapters", "book", "onnx", "test")
    idle = {name for name in everything - used if name not in text}
    # The kernel of a notebook, what stands behind `pytest -n`, and what builds the wheel.
    assert idle == {"ipykernel", "pytest-xdist", "setuptools"}


def test_chapters_are_not_given_more_than_they_need():
    used = packages(imported("chapters", "segedu"))
    assert listed("dependencies", "chapters") - used == {"ipykernel"}


def test_every_text_file_is_opened_with_its_encoding():
    """Windows would take its own."""
    without = []
    for path, source in sources("chapters", "segedu", "study", "docs", "tools"):
        for node in ast.walk(ast.parse(source)):
            name = getattr(getattr(node, "func", None), "attr", getattr(node, "func", None))
            name = name.id if isinstance(name, ast.Name) else name
            if name in ("open", "read_text", "write_text"):
                call = ast.unparse(node)
                if not re.search(r"encoding=|[\"'][rwa]\+?b\+?[\"']|Image\.open", call):
                    without.append(f"{path.relative_to(ROOT)}: {call}")
    assert without == []


def test_a_file_of_weights_does_not_stay_open(tmp_path):
    """Windows replaces no file that a program has open or mapped into its memory."""
    path, model = tmp_path / "last.safetensors", UNet(1, 1, channels=(4, 8))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(1, 1, 8, 8)).sum().backward()
    optimizer.step()
    save_checkpoint(path, model, optimizer=optimizer)
    loaded = load_model(path)
    load_training(path, model, optimizer)
    process = psutil.Process()
    in_use = {file.path for file in (*process.open_files(), *process.memory_maps())}
    assert loaded.depth == 1
    assert str(path) not in in_use


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").iterdir()))
def test_workflows_use_fixed_actions_and_may_only_read(path):
    text = path.read_text(encoding="utf-8")
    actions = re.findall(r"uses: \S+@(\S+)", text)
    assert actions
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in actions)
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
