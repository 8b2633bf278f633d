"""Writing files so that a reader finds the old one or the new one, never half of either."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .checks import check_path


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A path to write to in place of `path`, which takes its place once the block is done.

    The file appears whole, under its own name, or not at all: on an error, the half that was
    written is removed and what stood at `path` before stays. An OSError (a full disk, a folder that
    may not be written to) says so.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    path = check_path("path", path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, since a file can be renamed only within its file system.
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
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


def remove_halves(path: str | os.PathLike) -> None:
    """Remove what killed processes had written of `path`; only while nobody writes it.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / ".a-x1y2z3_4.txt").touch()
    ...     remove_halves(Path(folder) / "a.txt")
    ...     os.listdir(folder)
    []
    """
    path = check_path("path", path)
    for leftover in path.parent.glob(f".{path.stem}-????????{path.suffix}"):
        leftover.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
