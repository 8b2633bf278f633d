"""Writing files so that a reader finds the old one or the new one, never half of either."""

import csv
import glob
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 200  # bytes of a name that a temporary name keeps: 255 are allowed


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of `path` once the block is done.

    The file appears whole, under its own name, or not at all: on an error, the unfinished file is
    removed and what stood at `path` before stays. An OSError (a full disk, a folder that may not be
    written to) says so.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, since a file can be renamed only within its file system.
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{_start_of(path.stem)}-", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # the bytes are on the disk before the name is
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise OSError(
            f"could not write {path}: {error.strerror or error}; what was there before is unchanged"
        ) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def remove_unfinished(path: str | os.PathLike) -> None:
    """Remove the unfinished files of `path` that killed processes left; not while one is writing.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / ".a-x1y2z3_4.txt").touch()
    ...     remove_unfinished(Path(folder) / "a.txt")
    ...     os.listdir(folder)
    []
    """
    path = Path(path)
    name, ending = glob.escape(_start_of(path.stem)), glob.escape(path.suffix)
    for leftover in path.parent.glob(f".{name}-????????{ending}"):
        leftover.unlink()


def _start_of(name: str) -> str:
    """As much of a name as a temporary name keeps; no half of a letter of several bytes."""
    return name.encode(errors="ignore")[:LONGEST].decode(errors="ignore")


def write_rows(path: str | os.PathLike, rows: list[dict], names: Collection[str] = ()) -> None:
    """Write rows with the same keys as a CSV table, atomically; None becomes an empty cell.

    Without rows the table has a header alone, of the `names` of the columns.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=rows[0] if rows else names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: str | os.PathLike) -> list[dict[str, str]]:
    """The rows of a CSV table, each cell a string."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_history(path: str | os.PathLike) -> list[dict]:
    """The rows of a `history.csv`, with numbers as numbers and None for an empty cell."""
    return [
        {
            name: (int if name == "step" else float)(cell) if cell else None
            for name, cell in row.items()
        }
        for row in read_rows(path)
    ]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
