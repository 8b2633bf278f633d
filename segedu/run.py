"""The folder of a training run: the best network, the last state, the history; and Ctrl-C."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .checkpoint import load_model, load_training, save_checkpoint
from .files import read_history, remove_unfinished, write_rows

STOPPING = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and what a cluster sends before it ends a job
HISTORY_ADVICE = "put the file back, or train on from last.safetensors in another folder"


class RunFolder:
    """`best.safetensors`, `last.safetensors` and `history.csv` (one row per step) in one folder.

    `settings` is what has to stay the same when a run is resumed: a JSON object that is saved with
    the last state. Raises ValueError for a folder that holds a run already, unless it is resumed.
    """

    def __init__(self, out: str | os.PathLike, settings: dict, *, resume: bool):
        self.best, self.last, self.table = (
            Path(out) / name for name in ("best.safetensors", "last.safetensors", "history.csv")
        )
        self.settings = settings
        self.is_done = False  # whether the run that was restored had taken all of its steps
        if not resume and any(path.exists() for path in (self.best, self.last, self.table)):
            raise ValueError(
                f"{out} already holds a run, which would be lost: resume it, or choose another "
                "folder"
            )

    def restore(self, state) -> list[dict]:
        """Bring a `TrainState` to the last state of the run; returns the history up to there.

        Raises ValueError for a run that cannot be gone on with as the settings say: another
        network, other settings (but for more steps after the last one), or a file that is missing
        or damaged, which training on would overwrite or miss at its end.
        """
        if not self.last.exists():
            if there := [path.name for path in (self.best, self.table) if path.exists()]:
                raise ValueError(
                    f"{self.last} is missing, so the run cannot be resumed, and a new one would "
                    f"overwrite its {' and '.join(there)}; choose another folder"
                )
            return []
        notes = load_training(self.last, state.network, state.optimizer)
        saved = notes.get("settings", {})
        self.is_done = notes["step"] == saved.get("steps")
        if self.is_done and self.settings["steps"] > notes["step"]:
            longer = {name: self.settings.get(name) for name in ("steps", "validate_every")}
            saved = saved | longer
        if changed := [name for name in self.settings if saved.get(name) != self.settings[name]]:
            then, now = (
                {name: run.get(name) for name in changed} for run in (saved, self.settings)
            )
            raise ValueError(
                f"{self.last} was trained with {then}, got {now}: resume it with the same settings"
            )
        state.schedule.load_state_dict(notes["schedule"])
        state.step, state.best_score = notes["step"], notes["best_score"]
        if state.best_score >= 0:
            load_model(self.best)  # raises now, and not at the end, if it is missing or damaged
        return self._read_history(state.step)

    def _read_history(self, steps: int) -> list[dict]:
        """The rows of the first steps: all of them, or a ValueError."""
        if steps == 0:
            return []
        try:
            rows = [row for row in read_history(self.table) if row["step"] <= steps]
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"cannot read {self.table} ({error}); {HISTORY_ADVICE}") from None
        if [row["step"] for row in rows] != list(range(1, steps + 1)):
            raise ValueError(f"{self.table} has lost some of its {steps} steps; {HISTORY_ADVICE}")
        return rows

    def save_last(self, state, history: list[dict]) -> None:
        """Write all that is needed to go on from here."""
        if history:
            write_rows(self.table, history)
        save_checkpoint(
            self.last, state.network, optimizer=state.optimizer, step=state.step,
            best_score=state.best_score, schedule=state.schedule.state_dict(),
            settings=self.settings,
        )  # fmt: skip

    def save_best(self, state) -> None:
        """Write the network, whose validation IoU is the best so far."""
        save_checkpoint(self.best, state.network, step=state.step, validation_iou=state.best_score)

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of a killed process."""
        for path in (self.best, self.last, self.table):
            remove_unfinished(path)


@contextmanager
def interrupt_noted() -> Iterator[threading.Event]:
    """Set the event on Ctrl-C or SIGTERM.

    A second signal of the same kind stops at once.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only there can it be caught
        yield noted
        return

    def note(number, frame):
        noted.set()
        signal.signal(number, before[number])

    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back, from the processes that begin in here, too; not on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlive_a_signal(worker: int) -> None:
    """Let the process that trains decide what a signal means that reaches its workers as well.

    It ends a worker by SIGTERM itself, again and again: only the first one is ignored.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
