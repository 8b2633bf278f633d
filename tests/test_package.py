"""What holds for the package as a whole: its doctests, what importing it costs, and its wheel."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import segedu

ROOT = Path(__file__).parent.parent
MODULES = ["segedu", *(m.name for m in pkgutil.walk_packages(segedu.__path__, "segedu."))]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "segedu.__main__"])
def test_examples_in_docstrings(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def python(code, executable=sys.executable, cwd=None):
    result = subprocess.run(
        [executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_is_light():
    heavy = ["torchvision", "matplotlib", "lightning_fabric", "skimage", "scipy", "PIL"]
    found = python(f"import sys, segedu; print([m for m in {heavy} if m in sys.modules])")
    assert found.strip() == "[]"
    code = (
        "import torch, time; start = time.perf_counter(); import segedu; "
        "print(time.perf_counter() - start)"
    )
    assert min(float(python(code)) for _ in range(3)) < 0.1


def test_a_wheel_carries_what_the_package_needs(tmp_path):
    """Built, installed beside the libraries in an environment of its own, and used from there."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=False)
    executable = tmp_path / "env" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(python(where, executable).strip())
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel],
        check=True,
    )
    # The libraries that segedu needs are borrowed from here; segedu itself must be the wheel's.
    (site / "libraries.pth").write_text(python(where))
    used = python(
        "import segedu, torch\n"
        "from segedu.data import SyntheticNuclei\n"
        "from segedu.data.nuclei import _table\n"
        "from segedu.plotting import use_style\n"
        "use_style()\n"
        "image, mask = SyntheticNuclei(1, size=64)[0]\n"
        "mask = segedu.to_mask(segedu.predict(segedu.load_pretrained(), image[None]))\n"
        "from segedu.export import to_page\n"
        "to_page(segedu.load_pretrained('unetpp-nuclei-tiny'))\n"
        "print(segedu.__file__, len(_table()), tuple(mask.shape))\n",
        executable,
        cwd=tmp_path,
    )
    file, rows, *shape = used.split(maxsplit=2)
    assert Path(file).is_relative_to(site)
    assert (rows, *shape) == ("664", "(1, 64, 64)\n")


def test_nothing_is_unpickled():
    sources = "\n".join(path.read_text() for path in (ROOT / "segedu").rglob("*.py"))
    assert "torch.load" not in sources
    assert "import pickle" not in sources
    assert "allow_pickle=True" not in sources


def test_requirements_pin_every_package_exactly():
    lines = [
        line for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]  # fmt: skip
    assert lines.pop(0) == "-e ."
    assert all("==" in line for line in lines)
