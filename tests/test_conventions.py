"""The page of conventions: what it says is tested, and what no other file tests is tested here."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.filters import gaussian

from segedu import UNet, UNetPlusPlus, predict, to_mask
from segedu.data import (
    SyntheticNuclei,
    instances_to_target,
    normalize,
    sample,
    three_class_to_instances,
)
from segedu.evaluation import dataset_iou, otsu_threshold
from segedu.losses import class_balance, dice_loss, jaccard_loss, tversky_loss
from segedu.metrics import dice, iou, stat_scores
from study import compare

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "conventions.md"


def problems(page: str) -> list[str]:
    """What is wrong with the rows of the page's tables and the words of its glossary.

    Each ends with a comment, which readers do not see, that names the test. A word that the course
    only uses may have a link to the page that explains it in place of a test.
    """
    rows = [line for line in page.splitlines() if re.match(r"\| (?!what |symbol |---)", line)]
    words = [line for line in page.splitlines() if line.startswith("- ")]
    wrong = [] if rows and words else ["there are no rows or no words"]
    for line in [*rows, *words]:
        named = re.search(r"<!-- (test_\w+\.py)::(test_\w+) -->(?: \|)?$", line)
        link = re.search(r"\]\((\S+)\)\.$", line)
        if named and named[2] not in names(named[1]):
            wrong.append(f"{named[1]} has no {named[2]}")
        elif link and not (PAGE.parent / link[1]).exists():
            wrong.append(f"there is no page {link[1]}")
        elif not (named or (link and line in words)):
            wrong.append(f"names no test: {line}")
    terms = [re.match(r"- \*\*(.+?)\.?\*\*", line)[1].lower() for line in words]
    return wrong + [f"{b!r} stands after {a!r}" for a, b in pairwise(terms) if a > b]


def names(file: str) -> set[str]:
    path = TESTS / file
    body = ast.parse(path.read_text(encoding="utf-8")).body if path.exists() else []
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_every_convention_names_its_test_and_every_word_a_test_or_a_page():
    assert problems(PAGE.read_text(encoding="utf-8")) == []


def test_what_is_wrong_with_the_page_is_found():
    row = "| what | why | example |\n| --- | --- | --- |\n| It is so. | It helps. | One. {} |\n\n"
    word = "- **{}.** What it is. {}"
    here = f"<!-- test_conventions.py::{test_what_is_wrong_with_the_page_is_found.__name__} -->"
    link = "See [the losses](../chapters/losses.ipynb)."
    page = row + word + "\n" + word
    assert problems(page.format(here, "A", here, "B", link)) == []
    for other in ("", "a test", here.replace("wrong", "right"), here.replace("conv", "inv"), link):
        assert len(problems(page.format(other, "A", here, "B", link))) == 1
    for other in ("", link.replace("losses.ipynb", "gains.ipynb")):
        assert len(problems(page.format(here, "A", here, "B", other))) == 1
    assert len(problems(page.format(here, "B", here, "A", link))) == 1
    assert len(problems("No table.")) == 1


def test_corners_connect_or_not():
    corners = np.eye(3, dtype=int)
    assert three_class_to_instances(corners).max() == 3

    class OneImage(list):
        def instances(self, _):
            return corners

    data = OneImage([(torch.zeros(1, 3, 3), torch.from_numpy(corners))])
    (row,), _ = compare.test(lambda _: data[0][1][None, None].float(), data, 1, 0)
    assert row["objects"] == 1


def test_a_component_can_be_walked_through():
    around = np.array([[1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 0, 1]])
    assert three_class_to_instances(around).tolist() == (around * [1, 1, 1, 1, 2]).tolist()


def test_percentiles_become_0_and_1():
    image = np.arange(1001).reshape(7, 143)  # the percentiles are 10 and 999
    expected = torch.from_numpy((image - 10) / 989).float()[None]
    torch.testing.assert_close(normalize(image), expected)  # from below 0 to above 1


def test_an_empty_image_left_empty_scores_1():
    truth = torch.zeros(3, 2, 2, dtype=torch.long)
    preds = truth.clone()
    preds[2, 0, 0] = 1  # a false positive
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
    model = UNet(1, 1, channels=(4, 8)).eval()
    image = torch.rand(1, 1, 8, 8)
    logits, p = model(image), predict(model, image)
    torch.testing.assert_close((p / (1 - p)).log(), logits)
    torch.testing.assert_close(1 / (1 + (-logits).exp()), p)


def test_semantic_and_instance_segmentation():
    touching = np.array([[7, 7, 4, 4, 0]])
    assert instances_to_target(touching, "binary").tolist() == [[1, 1, 1, 1, 0]]  # a class
    assert instances_to_target(touching, "instances").tolist() == [[7, 7, 4, 4, 0]]  # a number


def test_nuclei_are_the_rare_class():
    for mask in (sample().instances > 0, SyntheticNuclei(50)[0][1]):
        background = class_balance(torch.as_tensor(mask)[None, None].float())
        assert background > 4 * (1 - background)


def test_tversky_index_and_two_of_its_settings():
    preds = torch.tensor([[[1, 1, 1, 1, 1, 1, 0, 0]]])
    truth = torch.tensor([[[1, 1, 1, 0, 0, 1, 1, 0]]])  # TP 4, FP 2, FN 1
    logits, target = 200.0 * (2 * preds[None] - 1), truth[None].float()
    index = 1 - tversky_loss(logits, target, alpha=0.3, beta=0.7, smooth=1e-12)
    assert index.item() == pytest.approx(4 / (4 + 0.3 * 2 + 0.7 * 1))
    counts = stat_scores(preds, truth, num_classes=1)
    for metric, loss, weight in ((iou, jaccard_loss, 1), (dice, dice_loss, 0.5)):
        index = 1 - tversky_loss(logits, target, alpha=weight, beta=weight, smooth=1e-12)
        torch.testing.assert_close(index, 1 - loss(logits, target, smooth=1e-12))
        assert index.item() == pytest.approx(metric(*counts[:3], average="set", absent=1.0))


def test_otsu_parts_the_pixels_best():
    image = SyntheticNuclei(1)[0][0]
    grey = gaussian(image[0].numpy(), sigma=1)
    found = otsu_threshold(image[None])[0].numpy()

    def spread(foreground):
        return sum(len(group) * group.var() for group in (grey[foreground], grey[~foreground]))

    cuts = np.linspace(grey.min(), grey.max(), 259)[1:-1]
    best = min(spread(grey > cut) for cut in cuts)
    assert spread(found) == pytest.approx(best, rel=1e-3)
    assert spread(grey > np.median(grey)) > 1.01 * best  # not every threshold does


def test_sides_are_multiples_of_2_to_the_depth():
    model = UNet(1, 1, channels=(4, 8, 8)).eval()
    assert model.depth == 2
    assert model.features(torch.rand(1, 1, 12, 20))[2, 0].shape[2:] == (3, 5)
    for side in (10, 11, 13):
        with pytest.raises(ValueError, match="multiples of 4"):
            model(torch.rand(1, 1, 12, side))
        assert predict(model, torch.rand(1, 1, 12, side)).shape == (1, 1, 12, side)


def seen_by(model, module, image):
    """What a module of a network is given and what it gives, and what every node computes."""
    seen = []
    hook = module.register_forward_hook(lambda _, given, gives: seen.extend((*given, gives)))
    features = model.features(image)
    hook.remove()
    return *(x.detach() for x in seen), features


def test_skips_hand_features_on():
    image = torch.rand(1, 1, 16, 16)
    for network, columns in ((UNet, [0]), (UNetPlusPlus, [0, 1, 2])):
        model = network(1, 1, channels=(4, 8, 8, 8)).eval()
        *skips, below, _, nodes = seen_by(model, model.blocks["0_3"], image)
        for given, j in zip(skips, columns, strict=True):
            assert torch.equal(given, nodes[0, j])
        assert torch.equal(below, model.ups["0_3"](nodes[1, 2]))


def test_batch_norm_scales_by_the_batch_and_then_by_what_was_learned():
    model = UNet(1, 1, channels=(4, 8))
    norm = model.blocks["0_0"][1]
    means, variances = [], []
    for _ in range(200):
        given, gives, _ = seen_by(model.train(), norm, torch.rand(8, 1, 16, 16))
        means.append(given.mean(dim=(0, 2, 3)))
        variances.append(given.var(dim=(0, 2, 3), correction=0))
    expected = (given - means[-1].view(4, 1, 1)) / (variances[-1].view(4, 1, 1) + 1e-5).sqrt()
    torch.testing.assert_close(gives, expected.relu())  # the ReLU after it works in place
    given, gives, _ = seen_by(model.eval(), norm, 9 * torch.rand(8, 1, 16, 16))
    mean, variance = (torch.stack(values).mean(0).view(4, 1, 1) for values in (means, variances))
    expected = (given - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(gives, expected.relu(), rtol=0.1, atol=0.1)


def test_pooling_of_a_map_and_of_counts():
    model = UNet(1, 1, channels=(4, 8)).eval()
    given, _, nodes = seen_by(model, model.blocks["1_0"], torch.rand(1, 1, 8, 8))
    fours = nodes[0, 0].unfold(2, 2, 2).unfold(3, 2, 2)  # (N, C, H / 2, W / 2, 2, 2)
    assert torch.equal(given, fours.amax(dim=(4, 5)))
    tp, fp, fn = (torch.tensor(counts)[:, None] for counts in ([1, 8], [3, 0], [0, 2]))
    assert iou(tp, fp, fn, average="set", absent=1.0) == 9 / (9 + 3 + 2)
    assert iou(tp, fp, fn, average="image", absent=1.0) == pytest.approx((1 / 4 + 8 / 10) / 2)


def test_a_head_is_a_1x1_convolution():
    model = UNetPlusPlus(1, 3, channels=(4, 8, 8), deep_supervision=True).eval()
    image = torch.rand(1, 1, 16, 16)
    nodes = model.features(image)
    for level, logits in zip(model.levels, model(image), strict=True):
        head = model.heads[str(level)]
        weighed = torch.einsum("kcij,nchw->nkhw", head.weight, nodes[0, level])
        torch.testing.assert_close(logits, weighed + head.bias.view(3, 1, 1))


def test_a_level_is_a_head_and_what_it_needs():
    model = UNetPlusPlus(1, 1, channels=(4, 8, 8, 8, 8), deep_supervision=True)
    image = torch.rand(2, 1, 16, 16)
    for level in (1, 2, 3, 4):
        model.zero_grad()
        model(image)[level - 1].sum().backward()
        needed = {name for name, weights in model.named_parameters() if weights.grad is not None}
        assert {name for name, _ in model.prune(level).named_parameters()} == needed
        assert all(i + j <= level for i, j in model.prune(level).nodes)
