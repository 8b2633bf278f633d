"""What several test modules share: the archive of real nuclei, where there is one."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def nuclei_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of real nuclei, linked into a folder of its own that takes the cache."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "stage1_train_public.zip"
    source = Path(os.environ.get("SEGEDU_NUCLEI", beside)).absolute()
    if not source.exists():
        reason = f"no archive of real nuclei at {source}: set SEGEDU_NUCLEI to its path"
        if os.environ.get("SEGEDU_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    link = tmp_path_factory.mktemp("nuclei") / source.name
    link.symlink_to(source)
    return link
