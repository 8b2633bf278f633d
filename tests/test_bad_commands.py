"""Every kind of mistake on the command line: a message that helps, no traceback, and soon.

The commands run in this process, so that a mistake costs milliseconds; `test_cli.py` runs some in
processes of their own.
"""

import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segedu import UNet, cli, save_checkpoint

TRAIN = ("train", "--steps", "1", "--batch-size", "1", "--crop-size", "16", "--channels", "2,4")
WORDS = st.text("abcxyz", min_size=1, max_size=5)
NO_WHOLE_NUMBER = WORDS | st.just("") | st.floats(0.1, 0.9).map(str) | st.just("nan")
NOT_POSITIVE = NO_WHOLE_NUMBER | st.integers(-(10**12), 0).map(str)
NEGATIVE = NO_WHOLE_NUMBER | st.integers(-(10**12), -1).map(str)
NO_RATE = WORDS | st.sampled_from(["", "nan", "inf", "-inf", "-1", "1e999"])
NO_CHANNELS = (
    WORDS | st.sampled_from(["", ",", "8", "8;16", "8,,16", "8 16", "1.5,2", "0,4", "4,-8"])
    | st.just("4,99999999999") | st.just(",".join(["4"] * 40))
)  # fmt: skip
NO_LEVEL = NO_WHOLE_NUMBER | st.integers(-9, 0).map(str) | st.integers(5, 10**9).map(str)
NO_THRESHOLD = WORDS | st.sampled_from(["nan", "-0.1", "1.1", "inf", ""])
NO_PATH = WORDS.map(lambda word: f"{word}/nowhere")

# command, option, values that it cannot take
KINDS = [
    *[
        (command, option, values)
        for command in (TRAIN, ("evaluate",), ("info",))
        for option, values in [
            ("--data", WORDS),
            ("--data=folder --root", NO_PATH),
            ("--data=nuclei --root", NO_PATH),
            ("--data=folder --root", st.just("text.png")),
            ("--data=nuclei --root", st.just("text.png")),
            ("--data=folder --root", st.just(".")),
            ("--data=nuclei --root", st.just(".")),
        ]
    ],
    *[(command, "--num-classes", NOT_POSITIVE) for command in (TRAIN, ("info",))],
    *[(command, "--num-classes", st.integers(4, 99).map(str)) for command in (TRAIN, ("info",))],
    (TRAIN, "--model", WORDS),
    (TRAIN, "--channels", NO_CHANNELS),
    (TRAIN, "--norm", WORDS),
    (TRAIN, "--steps", NOT_POSITIVE),
    (TRAIN, "--batch-size", NOT_POSITIVE),
    (TRAIN, "--crop-size", NOT_POSITIVE),
    (TRAIN, "--crop-size", st.integers(0, 50).map(lambda half: str(2 * half + 1))),
    (TRAIN, "--learning-rate", NO_RATE),
    (TRAIN, "--seed", NEGATIVE | st.just(str(2**32))),
    (TRAIN, "--accelerator", WORDS),
    (TRAIN, "--devices", NOT_POSITIVE),
    (TRAIN, "--devices", st.integers(2, 10**6).map(str)),  # for a batch of one
    (TRAIN, "--nodes", NOT_POSITIVE | st.integers(2, 10**6).map(str)),
    (TRAIN, "--precision", WORDS),
    (TRAIN, "--resume", st.just("")),
    (TRAIN, "--out", st.just("text.png")),
    (TRAIN, "--out", st.just("text.png/below")),
    (TRAIN, "--out", st.just("a_run")),
    (("info",), "--out", st.just("text.png")),
    *[
        (command, "--weights", values)
        for command in (("evaluate",), ("predict", "grey.png"))
        for values in (NO_PATH, st.just("text.png"), st.just("."), st.just("colour.safetensors"))
    ],
    (("evaluate",), "--level", NO_LEVEL),
    (("evaluate",), "--split", WORDS),
    (("predict", "grey.png"), "--level", NO_LEVEL),
    (("predict", "grey.png"), "--threshold", NO_THRESHOLD),
    (("predict", "grey.png"), "--out", st.just("text.png")),
    (("predict",), "", st.just("")),
    (("predict",), "", NO_PATH | st.sampled_from([".", "text.png", "empty.png"])),
    (("predict", "grey.png"), "", st.just("other/grey.png")),
    (("predict", "x.png"), "", st.just("x_mask.png --out .")),
    *[((command,), f"--{word}", WORDS) for command in ("train", "predict") for word in ("x", "lr")],
    ((), "", WORDS),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands run: files that are not what an option asks for."""
    root = tmp_path_factory.mktemp("mistakes")
    (root / "text.png").write_text("no picture, no weights, no archive, no folder")
    (root / "empty.png").touch()
    (root / "other").mkdir()
    (root / "a_run").mkdir()
    save_checkpoint(root / "a_run" / "last.safetensors", UNet(1, 1, channels=(2, 4)))
    save_checkpoint(root / "colour.safetensors", UNet(4, 1, channels=(2, 4)))
    for name in ("grey.png", "other/grey.png", "x.png", "x_mask.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / name)
    return root


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Run a command; gives its exit status and what it said."""
    monkeypatch.chdir(folder)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["segedu", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        code = stopped.value.code
        return (1, code) if isinstance(code, str) else (code, said.err)

    return run


@pytest.mark.parametrize(
    ("command", "option", "values"),
    KINDS,
    ids=[f"{(command or ['-'])[0]} {option or 'ARGUMENT'}" for command, option, _ in KINDS],
)
@settings(
    max_examples=6, deadline=20_000, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_a_mistake_is_answered(run, command, option, values, data):
    *options, last = option.split(" ") if option else [None]
    value = data.draw(values)
    written = value.split(" ") if option == "" else [last, value]
    code, message = run(*command, *options, *(word for word in written if word or last))
    assert code not in (0, None)
    assert "error" in message.lower() or "usage" in message.lower()
    assert len(message) > 20
    assert "Traceback" not in message


def test_how_many_kinds():
    print(f"{len(KINDS)} kinds of mistakes on the command line")
    assert len(KINDS) >= 60


def test_the_files_are_as_before(folder):
    """Runs last: no mistake has cost anybody a file."""
    assert (folder / "text.png").read_text().startswith("no picture")
    assert np.asarray(Image.open(folder / "x_mask.png")).shape == (8, 8)
