"""The page "What happens if ..." says what really happens."""

import re

import pytest

from tests.cases import LONGEST, PAGE, PARTS, answer, line, shortened
from tests.cases_data import CASES as DATA
from tests.cases_training import CASES as TRAINING

CASES = [*TRAINING, *DATA]
SECTIONS = [section for sections in PARTS.values() for section in sections]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section}: {case.what}")
def test_what_happens(case, tmp_path):
    said = answer(case, tmp_path)
    expected = line(case, said)
    assert expected in section(case.section).splitlines(), (
        f"python -m tests.cases writes: {expected}"
    )
    if re.match(r"\w+(Error|Exception|Interrupt): ", said):
        assert said.startswith(("ValueError: ", "OSError: ", "FileNotFoundError: ", "TypeError: ",
                                "FloatingPointError: ", "KeyboardInterrupt: "))  # fmt: skip


def section(title: str) -> str:
    """What stands on the page below this heading."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n### {title}\n")[1]
    return re.split(r"^##", text, flags=re.M)[0]


def test_the_page_has_these_cases_and_no_others():
    lines = [text for text in PAGE.read_text(encoding="utf-8").splitlines() if text[:2] == "- "]
    assert len(lines) == len(set(lines)) == len(CASES)
    assert {case.section for case in CASES} == set(SECTIONS)
    assert len(SECTIONS) == len(set(SECTIONS))


def test_every_section_explains():
    for title in SECTIONS:
        assert "**Why it matters.**" in section(title)
        assert "**What to do.**" in section(title)


def test_a_long_message_is_cut_after_a_part():
    message = "cannot read a.png (it is in no format that anybody here has ever seen); save it"
    assert shortened(message) == "cannot read a.png; save it"
    assert shortened("short (why); do this") == "short (why); do this"
    cut = shortened("; ".join(["twenty characters ok"] * 10))
    assert cut == "; ".join(["twenty characters ok"] * 6) + " ..."
    assert len(cut) <= LONGEST
