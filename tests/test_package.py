"""The package as a whole: its doctests, what imports what, what importing costs, its wheel."""

import ast
import doctest
import importlib.util
import pkgutil
import shutil
import subprocess
import sys
import venv
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import segedu

ROOT = Path(__file__).parent.parent
MODULES = ["segedu", *(m.name for m in pkgutil.walk_packages(segedu.__path__, "segedu."))]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "segedu.__main__"])
def test_examples_in_docstrings(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def python(code, *options, executable=sys.executable):
    command = [executable, *options, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_is_light():
    heavy = ["torchvision", "matplotlib", "lightning_fabric", "skimage", "scipy", "PIL"]
    seconds, found = python(
        # Processor time, which does not depend on what else the machine is doing.
        "import sys, time, torch; start = time.process_time(); import segedu; "
        f"print(time.process_time() - start, [m for m in {heavy} if m in sys.modules])"
    ).split(maxsplit=1)
    assert found.strip() == "[]"
    assert float(seconds) < 0.1


def test_evaluation_does_without_the_library_for_training():
    code = "import sys, segedu.evaluation; print('lightning_fabric' in sys.modules)"
    assert python(code).strip() == "False"


# Each line may import from the lines above it, but not from its own line.
LAYERS = [
    {"checks", "files"},
    {"models", "losses", "metrics", "data", "plotting"},
    {"variants"},
    {"analysis", "fast", "checkpoint", "diagrams", "doctor", "exercises", "objects"},
    {"inference", "run", "export"},
    {"evaluation"},
    {"training", "explorers"},
    {"commands"},
    {"cli"},
    {"__main__"},
]


def imported(name: str) -> set[str]:
    """The modules of the package that a module imports, in its functions too."""
    spec = importlib.util.find_spec(name)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            source = importlib.util.resolve_name(source, spec.parent)
            names = {f"{source}.{alias.name}" for alias in node.names}
            found |= names & set(MODULES) or {source}
    return found & set(MODULES)


def test_imports_have_no_circle():
    graph = {name: imported(name) for name in MODULES}
    assert {"segedu.losses", "segedu.models"} <= graph["segedu"]
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_imports_go_one_way():
    layer = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
    room = {name: name.split(".")[1] for name in MODULES if name != "segedu"}
    assert set(room.values()) == set(layer)
    wrong = [
        f"{name} imports {other}"
        for name in room
        for other in sorted(imported(name) & set(room))
        if room[name] != room[other] and layer[room[name]] <= layer[room[other]]
    ]
    assert wrong == []


def test_a_wheel_carries_what_the_package_needs(tmp_path):
    """Built, installed beside the libraries in an environment of its own, and used from there."""
    source = tmp_path / "source"  # a copy, since the build leaves files behind
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "segedu", source / "segedu", ignore=ignored)
    for name in ["pyproject.toml", "README.md", "LICENSE"]:
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    subprocess.run([*command, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=False)
    executable = tmp_path / "env" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(python(where, executable=executable).strip())
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel]
    subprocess.run(install, check=True)
    # The libraries that segedu needs are borrowed from here; segedu itself must be the wheel's.
    (site / "libraries.pth").write_text(python(where), encoding="utf-8")
    used = python(
        "import segedu, torch\n"
        "from segedu.data import SyntheticNuclei\n"
        "from segedu.data.nuclei import _table\n"
        "from segedu.explorers import LiveSegmentation\n"
        "from segedu.plotting import use_style\n"
        "use_style()\n"
        "image, mask = SyntheticNuclei(1, size=64)[0]\n"
        "mask = segedu.to_mask(segedu.predict(segedu.load_pretrained(), image[None]))\n"
        "LiveSegmentation().to_page()\n"
        "print(segedu.__file__, len(_table()), tuple(mask.shape))\n",
        "-I",  # without the folder that pytest runs in, and without PYTHONPATH
        executable=executable,
    )
    file, rows, *shape = used.split(maxsplit=2)
    assert Path(file).is_relative_to(site)
    assert (rows, *shape) == ("664", "(1, 64, 64)\n")


def test_nothing_is_unpickled():
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "segedu").rglob("*.py")
    )
    assert "torch.load" not in sources
    assert "import pickle" not in sources
    assert "allow_pickle=True" not in sources


def test_requirements_pin_every_package_exactly():
    lines = [
        line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]  # fmt: skip
    assert lines.pop(0) == "-e ."
    assert all("==" in line for line in lines)
