"""The page of conventions: every row names a test that exists, and those without one are here."""

import ast
import re
from pathlib import Path

import torch
from skimage.measure import label

from segedu import to_mask
from segedu.metrics import stat_scores
from segedu.training import dataset_iou

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "conventions.md"


def problems(page: str) -> list[str]:
    """The rows of the page's tables without a test, and those whose test is not there."""
    rows = [line for line in page.splitlines() if re.match(r"\| (?!what |word )", line)]
    wrong = [] if rows else ["there are no rows"]
    for row in rows:
        named = re.fullmatch(r"\| .+ \| `(test_\w+\.py)::(test_\w+)` \|", row)
        if named is None:
            wrong.append(f"names no test: {row}")
        elif named[2] not in names(named[1]):
            wrong.append(f"{named[1]} has no {named[2]}")
    return wrong


def names(file: str) -> set[str]:
    path = TESTS / file
    body = ast.parse(path.read_text()).body if path.exists() else []
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_every_row_names_a_test():
    assert problems(PAGE.read_text()) == []


def test_a_wrong_row_is_found_out():
    page = "| what holds | pinned by |\n|---|---|\n| {} | {} |"
    here = "`test_conventions.py::test_every_row_names_a_test`"
    assert problems(page.format("So it is.", here)) == []
    for other in ("", "a test", here.replace("every", "no"), here.replace("conv", "inv")):
        assert len(problems(page.format("So it is.", other))) == 1
    assert len(problems("No table.")) == 1


def test_corners_do_not_connect():
    corners = torch.eye(3).numpy()
    assert label(corners, connectivity=1).max() == 3


def test_an_empty_image_left_empty_scores_1():
    truth = torch.zeros(3, 2, 2, dtype=torch.long)
    preds = truth.clone()
    preds[2, 0, 0] = 1  # a false alarm
    truth[1] = preds[1] = 1
    assert dataset_iou(stat_scores(preds, truth, num_classes=1)) == (1 + 1 + 0) / 3


def test_several_classes_are_pooled_over_the_set():
    truth = torch.tensor([[[0, 0, 1, 1]], [[0, 0, 2, 2]]])
    preds = torch.tensor([[[0, 1, 1, 1]], [[0, 0, 2, 0]]])
    scores = stat_scores(preds, truth, num_classes=4)  # class 3 is nowhere, and left out
    assert abs(dataset_iou(scores) - (3 / 5 + 2 / 3 + 1 / 2) / 3) < 1e-12


def test_at_the_threshold_is_background():
    probabilities = torch.tensor([[[[0.25, 0.5, 0.75]]]])
    assert to_mask(probabilities).tolist() == [[[0, 0, 1]]]
    assert to_mask(probabilities, 0.25).tolist() == [[[0, 1, 1]]]


def test_one_hot_and_back():
    labels = torch.tensor([[0, 2], [1, 1]])
    one_hot = torch.nn.functional.one_hot(labels, 3).permute(2, 0, 1)  # (K, H, W)
    assert one_hot.sum(0).eq(1).all()
    assert torch.equal(to_mask(one_hot[None].float())[0], labels)


def test_logit_and_sigmoid():
    p = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    logit = (p / (1 - p)).log()
    torch.testing.assert_close(logit.sigmoid(), p)
    torch.testing.assert_close(logit, torch.logit(p))
