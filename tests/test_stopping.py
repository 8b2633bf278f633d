"""Training that is killed, interrupted or out of disk space: no file is lost or half-written."""

import functools
import io
import itertools
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from segedu import load_model, read_notes
from segedu.files import read_history
from segedu.training import TrainConfig
from tests import test_training
from tests.helpers import Interrupting

CONFIG = TrainConfig(steps=8, batch_size=2, crop_size=32, validate_every=2)
WRITTEN = ("best.safetensors", "last.safetensors")


small_fit = functools.partial(test_training.small_fit, config=CONFIG)

# A process of its own for each run, from a server that has imported torch already.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.test_training"])


def in_a_process(function, *arguments) -> multiprocessing.Process:
    process = processes.Process(target=function, args=arguments)
    process.start()
    return process


def finish(function, *arguments) -> int:
    """The exit code of a process of its own."""
    process = in_a_process(function, *arguments)
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    assert finish(small_fit, out) == 0
    return out


def finish_and_compare(out: Path, whole: Path) -> None:
    """Every file of a killed run is whole; resumed, it ends like the run that was never stopped."""
    for name in WRITTEN:
        if (out / name).exists():
            load_model(out / name)  # raises where a byte is missing or wrong
    assert finish(resume, out) == 0
    for name in WRITTEN:
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    expected, found = (read_history(path / "history.csv") for path in (whole, out))
    assert [row | {"seconds": 0} for row in found] == [row | {"seconds": 0} for row in expected]
    assert sorted(os.listdir(out)) == sorted([*WRITTEN, "history.csv"])


def resume(out):
    small_fit(out, resume=True)


def run_with_signal(out, started):
    started.touch()
    resume(out)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path, whole):
    """Five runs, each killed several times before it may finish."""
    started = tmp_path / "started"
    began = time.monotonic()
    finish_and_compare(tmp_path / "first", whole)
    length = time.monotonic() - began
    kills = []
    for number in range(5):
        out = tmp_path / str(number)
        while len(kills) < 4 * (number + 1):
            started.unlink(missing_ok=True)
            process = in_a_process(run_with_signal, out, started)
            while process.is_alive() and not started.exists():
                time.sleep(0.01)
            time.sleep(random.uniform(0, 0.8 * length))
            process.kill()
            process.join()
            if process.exitcode == 0:  # it was faster
                break
            done = read_notes(out / WRITTEN[1])["step"] if (out / WRITTEN[1]).exists() else None
            kills.append(done)
        finish_and_compare(out, whole)
    print(f"killed {len(kills)} times, with these steps kept: {kills}")
    assert len(kills) >= 8


def run_until_write(out, number, moment):
    """Kill this process half-way through its write `number`, or before or after its name."""
    writes = itertools.count()
    fsync, replace, write_bytes = os.fsync, Path.replace, Path.write_bytes

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def counted_fsync(handle):
        fsync(handle)
        count = next(writes)
        if count == number and moment == "not yet named":
            die()
        if count == number and moment == "named":
            Path.replace = lambda *arguments: (replace(*arguments), die())
        if count == number - 1 and moment == "half-way":
            Path.write_bytes = lambda path, data: (write_bytes(path, data[: len(data) // 2]), die())

    os.fsync = counted_fsync
    small_fit(out)


# Write 0 is the first state, 1 the best network, 2 the history, 3 the last state, 4 the history, 5
# the last state, and so on. Only networks can be stopped half-way: the history is one short write.
FEW_MOMENTS = [
    (1, "half-way"), (1, "not yet named"), (1, "named"), (2, "not yet named"), (2, "named"),
    (5, "half-way"), (5, "not yet named"), (5, "named"),
]  # fmt: skip
ALL_MOMENTS = [
    (number, moment)
    for number, moment in itertools.product(range(11), ["half-way", "not yet named", "named"])
    if (number, moment) != (0, "half-way")  # there is no write before it to count from
]


@pytest.mark.parametrize(
    "moments",
    [FEW_MOMENTS, pytest.param(ALL_MOMENTS, marks=pytest.mark.slow)],
    ids=["of every kind of file", "all"],
)
def test_killed_around_a_write(tmp_path, whole, moments):
    for number, moment in moments:
        out = tmp_path / f"{number} {moment}"
        assert finish(run_until_write, out, number, moment) == -signal.SIGKILL
        finish_and_compare(out, whole)


def full_disk(out):
    """Resume a run in a process whose files may not grow, as on a full disk."""
    sys.stdout = sys.stderr = io.StringIO()  # the real ones may be long files already
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        resume(out)
    except OSError as error:
        (out / "message").write_text(str(error))


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, whole):
    finish(run_until_write, tmp_path, 4, "named")
    finish(full_disk, tmp_path)
    (tmp_path / "message").unlink()  # the cases have its words
    assert read_notes(tmp_path / "last.safetensors")["step"] == 2
    finish_and_compare(tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_keeps_its_state(tmp_path, whole, number):
    """Ctrl-C, and what a cluster sends."""
    interrupting = Interrupting(test_training.LOSS, 3, number)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 3 of 8"):
        small_fit(tmp_path, loss=interrupting)
    assert signal.getsignal(number) is before
    assert read_notes(tmp_path / "last.safetensors")["step"] == 3
    assert [row["step"] for row in read_history(tmp_path / "history.csv")] == [1, 2, 3]
    finish_and_compare(tmp_path, whole)


def test_training_works_in_a_thread_too(tmp_path, whole):
    """A thread cannot handle Ctrl-C itself; some servers train in one."""
    thread = threading.Thread(target=small_fit, args=(tmp_path,))
    thread.start()
    thread.join()
    finish_and_compare(tmp_path, whole)


@pytest.fixture
def start_command(tmp_path):
    """A function that starts `segedu train` in tmp_path, and returns when its run has begun."""
    started = []

    def start(workers: int) -> subprocess.Popen:
        small = ["--steps", "400", "--batch-size", "1", "--crop-size", "16", "--channels", "2,4"]
        command = [sys.executable, "-m", "segedu", "train", "--model", "unet", *small]
        command += ["--workers", str(workers)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **pipes)
        started.append(process)
        while not (tmp_path / "runs" / "1" / "last.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.05)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def workers_of(process: subprocess.Popen) -> list[int]:
    """The processes that prepare crops for this one."""
    return [
        int(pid)
        for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


@pytest.mark.parametrize(
    ("number", "workers", "moment"),
    [
        (signal.SIGINT, 0, "later"),
        (signal.SIGTERM, 2, "later"),
        (signal.SIGTERM, 2, "the workers begin"),
    ],
)
def test_a_command_that_is_stopped_says_how_to_go_on(
    tmp_path, start_command, number, workers, moment
):
    """By Ctrl-C, or by a cluster, both of which also reach the processes that prepare crops."""
    process = start_command(workers)
    if moment == "later":
        time.sleep(0.3)
    else:
        while not workers_of(process):
            time.sleep(0.001)
    os.killpg(process.pid, number)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "To go on: the same command with --resume --out runs/1" in printed
    step = read_notes(tmp_path / "runs" / "1" / "last.safetensors")["step"]
    assert f"stopped after step {step} of 400" in printed


def test_a_command_ends_when_a_process_that_prepares_crops_dies(start_command):
    """As by the system, for want of memory; the other process must not be waited for."""
    process = start_command(2)
    while len(workers_of(process)) < 2:
        time.sleep(0.01)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "error: a process that prepares crops has died" in printed
    assert "Traceback" not in printed
