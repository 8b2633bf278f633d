import pytest

from segedu.files import atomic_path


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.csv"
    path.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_appears_whole_and_as_readable_as_any_other(tmp_path):
    path = tmp_path / "new" / "result.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    (tmp_path / "plain").touch()
    assert path.read_text() == "whole"
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
