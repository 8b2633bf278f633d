"""Files appear whole or not at all; tables come back as they were written."""

import pytest

from segedu.files import atomic_path, read_history, read_rows, remove_unfinished, write_rows


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.csv"
    path.write_text("old", encoding="utf-8")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_appears_whole_and_as_readable_as_any_other(tmp_path):
    path = tmp_path / "new" / "result.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("whole", encoding="utf-8")
        assert not path.exists()
    (tmp_path / "plain").touch()
    assert path.read_text(encoding="utf-8") == "whole"
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "below.csv", tmp_path):  # a folder is no file either
        with (
            pytest.raises(OSError, match=rf"could not write {path}: .*; what was there before is"),
            atomic_path(path),
        ):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert not [*tmp_path.parent.glob(f".{tmp_path.stem}-*")]


def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path):
    path, others = tmp_path / "a.csv", (".a-short.csv", ".b-x1y2z3_4.csv", ".a-x1y2z3_4.txt")
    with atomic_path(path) as temporary:
        left = tmp_path / f"{temporary.stem[:-1]}x{temporary.suffix}"  # as of another process
        left.touch()
    for name in others:
        (tmp_path / name).touch()
    remove_unfinished(path)
    assert {file.name for file in tmp_path.iterdir()} == {"a.csv", *others}


@pytest.mark.parametrize("stem", ["核" * 80, "a" + "核" * 80])
def test_a_name_of_nearly_255_bytes(tmp_path, stem):
    path = tmp_path / f"{stem}_overlay.png"
    with atomic_path(path) as temporary:
        (tmp_path / f"{temporary.stem[:-1]}x.png").touch()  # as of another process
    remove_unfinished(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_comes_back_as_it_was_written(tmp_path):
    rows = [{"name": "a, \"b\"", "text": "grün"}, {"name": "", "text": "two\nlines"}]  # fmt: skip
    write_rows(tmp_path / "rows.csv", rows)
    assert read_rows(tmp_path / "rows.csv") == rows
    content = (tmp_path / "rows.csv").read_bytes()
    assert content.startswith(b'name,text\n"a, ""b""",gr\xc3\xbcn\n')
    assert b"\r" not in content


def test_a_history_comes_back_with_numbers(tmp_path):
    rows = [
        {"step": 1, "loss": 0.1 + 0.2, "validation_iou": None},
        {"step": 2, "loss": 1e-30, "validation_iou": 0.5},
    ]
    write_rows(tmp_path / "history.csv", rows)
    history = read_history(tmp_path / "history.csv")
    assert history == rows
    assert [type(value) for value in history[1].values()] == [int, float, float]
