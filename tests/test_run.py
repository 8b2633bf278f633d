"""The folder of a run, and Ctrl-C. Runs that are killed or interrupted: test_stopping.py."""

import signal
import threading

import pytest
import torch
from lightning_fabric import Fabric

from segedu import UNet, load_model, read_notes
from segedu.files import write_rows
from segedu.run import RunFolder, interrupt_noted
from segedu.training import TrainConfig, start_training
from tests.helpers import same_weights

SETTINGS = {"seed": 1, "steps": 8, "learning_rate": 0.1}


def new_state(seed=0):
    torch.manual_seed(seed)
    config = TrainConfig(steps=8, learning_rate=0.1)
    return start_training(UNet(1, 1, channels=(2, 4)), config, Fabric(accelerator="cpu", devices=1))


def trained_state(steps):
    state = new_state()
    for _ in range(steps):
        state.wrapped(torch.rand(2, 1, 4, 4)).square().sum().backward()
        state.optimizer.step()
        state.schedule.step()
        state.step += 1
    state.best_score, state.network.threshold = 0.7, 0.35
    return state


def rows(steps):
    return [
        {"step": k, "loss": 1 / k, "learning_rate": 0.1, "validation_iou": None, "seconds": 0.5}
        for k in range(1, steps + 1)
    ]


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "history.csv"])
def test_a_folder_that_holds_a_run_is_refused_unless_the_run_is_resumed(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match="already holds a run, which would be lost: resume it"):
        RunFolder(tmp_path, SETTINGS, resume=False)
    RunFolder(tmp_path, SETTINGS, resume=True)


def test_another_file_in_the_folder_is_no_run(tmp_path):
    (tmp_path / "notes.txt").touch()
    run = RunFolder(tmp_path, SETTINGS, resume=False)
    state = new_state()
    assert run.restore(state) == []
    assert state.step == 0


def test_the_last_state_comes_back(tmp_path):
    run, state = RunFolder(tmp_path, SETTINGS, resume=False), trained_state(3)
    run.save_last(state, rows(3))
    run.save_best(state)
    again = new_state(seed=1)
    assert RunFolder(tmp_path, SETTINGS, resume=True).restore(again) == rows(3)
    assert (again.step, again.best_score, again.network.threshold) == (3, 0.7, 0.35)
    assert again.schedule.state_dict() == state.schedule.state_dict()
    assert same_weights(again.network, state.network)
    ours, theirs = (one.optimizer.state_dict()["state"] for one in (state, again))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0)


def test_the_history_ends_with_the_state(tmp_path):
    """A run killed between writing the two has rows of steps that its state has not done."""
    run = RunFolder(tmp_path, SETTINGS, resume=False)
    run.save_last(trained_state(2), rows(2))
    run.save_best(trained_state(2))
    write_rows(run.table, rows(4))
    assert run.restore(new_state()) == rows(2)
    run.save_last(new_state(), [])
    assert run.restore(new_state()) == []


def test_other_settings_are_named(tmp_path):
    RunFolder(tmp_path, SETTINGS, resume=False).save_last(trained_state(1), rows(1))
    changed = {"seed": 1, "steps": 9, "learning_rate": 0.2}
    message = r"trained with {'steps': 8, 'l.*': 0.1}, got {'steps': 9, 'l.*': 0.2}: resume it"
    with pytest.raises(ValueError, match=message):
        RunFolder(tmp_path, changed, resume=True).restore(new_state())


def test_the_best_network_brings_its_step_score_and_threshold(tmp_path):
    run, state = RunFolder(tmp_path, SETTINGS, resume=False), trained_state(2)
    run.save_best(state)
    notes = read_notes(run.best)
    assert (notes["step"], notes["validation_iou"]) == (2, 0.7)
    assert load_model(run.best).threshold == 0.35


def test_what_a_killed_process_left_behind_is_removed(tmp_path):
    run = RunFolder(tmp_path, SETTINGS, resume=False)
    names = ["mine.txt", "best.safetensors", ".other-x1y2z3_4.txt"]
    leftovers = [
        ".best-x1y2z3_4.safetensors",
        ".last-x1y2z3_4.safetensors",
        ".history-x1y2z3_4.csv",
    ]
    for name in names + leftovers:
        (tmp_path / name).touch()
    run.remove_leftovers()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.fixture
def python_answers_ctrl_c():
    """Also where the tests were started in the background of a script, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_is_noted_and_the_second_stops(python_answers_ctrl_c):
    before = signal.getsignal(signal.SIGINT)
    with interrupt_noted() as noted:
        assert not noted.is_set()
        signal.raise_signal(signal.SIGINT)
        assert noted.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_works_as_before_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError), interrupt_noted():
        raise RuntimeError
    assert signal.getsignal(signal.SIGINT) is before


def test_a_thread_has_no_ctrl_c_to_note():
    seen = []

    def work():
        with interrupt_noted() as noted:
            seen.append(noted.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize("name", ["best.safetensors", "history.csv"])
def test_a_run_without_its_last_state_is_not_begun_anew(tmp_path, name):
    run = RunFolder(tmp_path, SETTINGS, resume=True)
    assert run.restore(new_state()) == []  # an empty folder is no run
    (tmp_path / name).write_text("kept", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"last.safetensors is missing.* overwrite its {name}"):
        run.restore(new_state())


def test_a_missing_or_damaged_best_network_is_found_before_the_training(tmp_path):
    run, state = RunFolder(tmp_path, SETTINGS, resume=False), trained_state(2)
    run.save_last(state, rows(2))
    with pytest.raises(FileNotFoundError, match=r"best\.safetensors"):
        run.restore(new_state())
    run.best.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"best\.safetensors is damaged"):
        run.restore(new_state())


@pytest.mark.parametrize("damage", ["missing", "lost a row", "no numbers", "another table"])
def test_a_history_that_lost_steps_is_not_written_over(tmp_path, damage):
    run, state = RunFolder(tmp_path, SETTINGS, resume=False), trained_state(3)
    run.save_last(state, rows(3))
    run.save_best(state)
    if damage == "missing":
        run.table.unlink()
    elif damage == "lost a row":
        write_rows(run.table, [rows(3)[0], rows(3)[2]])
    else:
        text = "step\nfour\n" if damage == "no numbers" else "a\n1\n"
        run.table.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"history\.csv.*; put the file back, or train on"):
        run.restore(new_state())


def test_only_a_run_that_is_done_takes_more_steps(tmp_path):
    longer = SETTINGS | {"steps": 16}
    for steps in (3, 8):
        run, state = RunFolder(tmp_path, SETTINGS, resume=True), trained_state(steps)
        run.save_last(state, rows(steps))
        run.save_best(state)
        again = RunFolder(tmp_path, longer, resume=True)
        if steps == 8:
            assert len(again.restore(new_state())) == 8
            assert again.is_done
            continue
        with pytest.raises(ValueError, match=r"trained with {'steps': 8}, got {'steps': 16}"):
            again.restore(new_state())
