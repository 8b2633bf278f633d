"""The page "What happens if ..." says what really happens."""

import re

import pytest

from tests.cases import PAGE, answer, row
from tests.cases_data import CASES as DATA
from tests.cases_training import CASES as TRAINING

CASES = [*TRAINING, *DATA]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.topic}: {case.what}")
def test_what_happens(case, tmp_path):
    said = answer(case, tmp_path)
    expected = row(case, said)
    assert expected in PAGE.read_text(encoding="utf-8").splitlines(), (
        f"python -m tests.cases writes: {expected}"
    )
    if re.match(r"\w+(Error|Exception|Interrupt): ", said):
        assert said.startswith(("ValueError: ", "OSError: ", "FileNotFoundError: ", "TypeError: ",
                                "FloatingPointError: ", "KeyboardInterrupt: "))  # fmt: skip


def test_the_page_has_these_rows_and_no_others():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    headings = [line for line in rows if line.startswith("| What happens if")]
    assert len(rows) - len(headings) == len(CASES)
