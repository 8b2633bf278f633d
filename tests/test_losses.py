"""Losses against torch, torchvision, MONAI and segmentation_models_pytorch, and at the edges."""

import functools
import itertools

import monai.losses
import pytest
import segmentation_models_pytorch.losses as smp
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

import segedu.losses as L

IGNORE = 255
GAMMAS = [0, 0.1, 0.5, 1, 2, 5]
WEIGHT = torch.tensor([0.1, 1.0, 2.0, 0.5, 3.0])
tversky = functools.partial(L.tversky_loss, alpha=0.3, beta=0.7)
BINARY = [L.binary_cross_entropy, L.focal_loss, tversky, L.compound_loss]
MULTI = [L.cross_entropy, L.focal_loss, tversky, L.compound_loss]
CASES = pytest.mark.parametrize(
    ("num_classes", "loss"), [(1, loss) for loss in BINARY] + [(3, loss) for loss in MULTI]
)


def example(num_classes, *, size=32, seed=0, dtype=torch.float32, scale=2.0):
    """Logits and hard target of two images."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, num_classes, size, size, generator=generator, dtype=dtype) * scale
    if num_classes == 1:
        return logits, (torch.rand(logits.shape, generator=generator) < 0.2).to(dtype)
    return logits, torch.randint(num_classes, (2, size, size), generator=generator)


def value_and_gradient(loss, logits, target, **options):
    logits = logits.clone().requires_grad_()
    value = loss(logits, target, **options)
    value.backward()
    return value.detach(), logits.grad


def assert_same(ours, reference, logits, target, **options):
    """Value and gradient equal to 1e-6, relative to the size of the whole gradient."""
    value, gradient = value_and_gradient(ours, logits, target, **options)
    other_value, other_gradient = value_and_gradient(reference, logits, target, **options)
    torch.testing.assert_close(value, other_value, rtol=1e-6, atol=0)
    assert (gradient - other_gradient).norm() <= 1e-6 * other_gradient.norm()


# -- equal to other libraries ------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 2.0, 20.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    "options", [{}, {"weight": WEIGHT}, {"weight": WEIGHT, "ignore_index": IGNORE}]
)
def test_cross_entropy_equals_torch(scale, reduction, options):
    logits, target = example(5, scale=scale)
    if "ignore_index" in options:
        target[:, ::3] = IGNORE
    assert_same(L.cross_entropy, F.cross_entropy, logits, target, reduction=reduction, **options)


@pytest.mark.parametrize("scale", [0.1, 2.0, 20.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_binary_cross_entropy_equals_torch(scale, reduction):
    logits, target = example(1, scale=scale)
    ours, theirs = L.binary_cross_entropy, F.binary_cross_entropy_with_logits
    for hard_or_soft in (target, torch.rand_like(target)):
        assert_same(ours, theirs, logits, hard_or_soft, reduction=reduction)


@pytest.mark.parametrize("gamma", [0, 1, 2, 5])
@pytest.mark.parametrize("alpha", [None, 0.0, 0.25, 0.75, 1.0])
def test_focal_loss_equals_torchvision(gamma, alpha):
    their_alpha = -1 if alpha is None else alpha  # torchvision's way to say none
    assert_same(
        functools.partial(L.focal_loss, alpha=alpha),
        functools.partial(sigmoid_focal_loss, alpha=their_alpha, reduction="mean"),
        *example(1),
        gamma=gamma,
    )


@pytest.mark.parametrize("num_classes", [1, 4])
def test_focal_loss_with_gamma_0_is_cross_entropy(num_classes):
    entropy = L.binary_cross_entropy if num_classes == 1 else L.cross_entropy
    assert_same(functools.partial(L.focal_loss, gamma=0), entropy, *example(num_classes))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_follows_the_formula_for_soft_targets(gamma):
    logits, target = example(1, dtype=torch.float64)
    y, p, alpha = torch.rand_like(target), logits.sigmoid(), 0.7
    expected = -alpha * (1 - p) ** gamma * y * p.log()
    expected -= (1 - alpha) * p**gamma * (1 - y) * (1 - p).log()
    loss = L.focal_loss(logits, y, gamma=gamma, alpha=alpha, reduction="none")
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_multiclass_focal_loss_follows_the_formula(gamma):
    logits, target = example(4, dtype=torch.float64)
    alpha = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    p_t = logits.softmax(1).gather(1, target[:, None])[:, 0]
    loss = L.focal_loss(logits, target, gamma=gamma, alpha=alpha, reduction="none")
    torch.testing.assert_close(loss, -alpha[target] * (1 - p_t) ** gamma * p_t.log())


def test_two_classes_with_one_logit_at_zero_are_the_binary_case():
    logits, target = example(1)
    two, index = torch.cat([torch.zeros_like(logits), logits], 1), target[:, 0].long()
    torch.testing.assert_close(L.cross_entropy(two, index), L.binary_cross_entropy(logits, target))
    torch.testing.assert_close(
        L.focal_loss(two, index, alpha=torch.tensor([0.2, 0.8])),
        L.focal_loss(logits, target, alpha=0.8),
    )


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (1.0, 1.0), (0.3, 0.7)])
def test_tversky_loss_equals_monai(num_classes, alpha, beta):
    # MONAI averages over images and classes too; its alpha and beta have the same sense.
    kind = {"sigmoid": True} if num_classes == 1 else {"softmax": True, "to_onehot_y": True}
    reference = monai.losses.TverskyLoss(
        **kind, alpha=alpha, beta=beta, smooth_nr=1.0, smooth_dr=1.0
    )
    assert_same(
        functools.partial(L.tversky_loss, alpha=alpha, beta=beta),
        lambda x, y: reference(x, y.view(2, 1, 32, 32)),
        *example(num_classes),
    )


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (tversky, smp.TverskyLoss("binary", alpha=0.3, beta=0.7, smooth=1.0)),
        (L.dice_loss, smp.DiceLoss("binary", smooth=1.0)),
        (L.jaccard_loss, smp.JaccardLoss("binary", smooth=1.0)),
    ],
)
def test_losses_equal_smp_for_one_image(ours, reference):
    # smp sums the counts over the whole batch before the ratio, so it agrees for one image only.
    logits, target = example(1)
    assert_same(ours, reference, logits[:1], target[:1])
    target[1] = 0
    assert abs(ours(logits, target) - reference(logits, target)) > 5e-3


def test_tversky_loss_by_hand_for_each_image_and_class():
    logits, target = torch.full((2, 1, 4, 4), -50.0), torch.zeros(2, 1, 4, 4)
    logits[0, 0, :2], target[0, 0, 1:3] = 50.0, 1  # 4 true positives, 4 false ones, 4 missed
    loss = functools.partial(L.tversky_loss, logits, target, alpha=0.3, beta=0.7)
    expected = torch.tensor([[1 - 5 / (4 + 1.2 + 2.8 + 1)], [0.0]])  # the second image is empty
    torch.testing.assert_close(loss(reduction="none"), expected)
    torch.testing.assert_close(loss(), expected.mean())
    torch.testing.assert_close(loss(reduction="sum"), expected.sum())


def test_compound_loss_is_entropy_plus_dice():
    for num_classes, entropy in ((1, L.binary_cross_entropy), (3, L.cross_entropy)):
        logits, target = example(num_classes)
        expected = entropy(logits, target) + L.dice_loss(logits, target)
        torch.testing.assert_close(L.compound_loss(logits, target), expected)


# -- gradients and extremes --------------------------------------------------------------------


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("num_classes", [1, 3])
def test_focal_gradcheck(gamma, num_classes):
    logits, target = example(num_classes, size=2, dtype=torch.float64)
    alpha = 0.3 if num_classes == 1 else torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    if num_classes == 1:
        target = torch.rand_like(target)
    loss = functools.partial(L.focal_loss, target=target[:1], gamma=gamma, alpha=alpha)
    assert torch.autograd.gradcheck(loss, logits[:1].requires_grad_())


@CASES
def test_gradcheck_with_ignored_pixels(num_classes, loss):
    logits, target = example(num_classes, size=2, dtype=torch.float64)
    target[0, ..., 0] = IGNORE
    function = functools.partial(loss, target=target, ignore_index=IGNORE)
    assert torch.autograd.gradcheck(function, logits.requires_grad_(), fast_mode=True)


def extreme_logits(num_classes, dtype):
    values = torch.tensor([-1e4, -100, -17, -1, 0, 1, 17, 100, 1e4], dtype=dtype)
    return torch.stack([values.roll(shift) for shift in range(num_classes)]).view(
        1, num_classes, 3, 3
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize(
    ("num_classes", "alphas", "values"),
    [(1, [None, 0.0, 0.25, 1.0], [0.0, 0.3, 1.0]), (3, [None, [0.0, 0.5, 1.0]], [0, 1, 2])],
)
def test_focal_is_finite_at_extremes(gamma, dtype, num_classes, alphas, values):
    logits = extreme_logits(num_classes, dtype)
    for alpha, y in itertools.product(alphas, values):
        target = torch.full((1, 1, 3, 3) if num_classes == 1 else (1, 3, 3), y)
        results = value_and_gradient(L.focal_loss, logits, target, gamma=gamma, alpha=alpha)
        assert all(result.isfinite().all() for result in results)


@pytest.mark.parametrize("case", ["random", "empty", "full"])
@CASES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_losses_are_finite_at_extremes_and_under_autocast(dtype, num_classes, loss, case):
    logits = extreme_logits(num_classes, dtype).requires_grad_()
    _, target = example(num_classes, size=3)
    target = {"random": target[:1], "empty": target[:1] * 0, "full": target[:1] * 0 + 1}[case]
    lowered = torch.bfloat16 if dtype == torch.float32 else dtype
    with torch.autocast("cpu", dtype=lowered):
        value = loss(logits, target)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@CASES
def test_half_precision_is_computed_in_float32(num_classes, loss):
    logits, target = example(num_classes)
    half = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(half, target) == loss(half.float(), target)


def test_focal_loss_can_follow_a_logit_down_to_nothing():
    """The gradient of a positive pixel vanishes smoothly as its logit grows."""
    logits, target = torch.linspace(0, 120, 50).view(1, 1, 5, 10), torch.ones(1, 1, 5, 10)
    for gamma in GAMMAS:
        _, gradient = value_and_gradient(L.focal_loss, logits, target, gamma=gamma)
        assert (gradient.flatten().diff() >= 0).all()
        assert (gradient <= 0).all()


# -- ignored pixels ----------------------------------------------------------------------------


@CASES
def test_ignored_pixels_are_as_if_cut_away(num_classes, loss):
    logits, target = example(num_classes)
    masked = target.clone()
    masked[..., 20:] = IGNORE
    value, gradient = value_and_gradient(loss, logits, masked, ignore_index=IGNORE)
    expected, expected_gradient = value_and_gradient(loss, logits[..., :20], target[..., :20])
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient[..., :20], expected_gradient)
    assert not gradient[..., 20:].any()


@CASES
def test_everything_ignored_is_0_with_a_live_graph(num_classes, loss):
    logits, target = example(num_classes)
    nothing = target * 0 + IGNORE
    value, gradient = value_and_gradient(loss, logits * 1e4, nothing, ignore_index=IGNORE)
    assert value == 0
    assert not gradient.any()
    if loss is L.cross_entropy:  # in contrast
        assert F.cross_entropy(logits, nothing, ignore_index=IGNORE).isnan()


def test_an_image_that_is_ignored_altogether_does_not_count_in_tversky():
    logits, target = example(3)
    masked = target.clone()
    masked[1] = IGNORE
    torch.testing.assert_close(
        tversky(logits, masked, ignore_index=IGNORE), tversky(logits[:1], target[:1])
    )


def test_reduction_none_has_a_loss_for_each_pixel_and_0_where_ignored():
    for num_classes, loss in ((1, L.focal_loss), (3, L.focal_loss), (3, L.cross_entropy)):
        logits, target = example(num_classes)
        target[..., 0] = IGNORE
        loss = functools.partial(loss, logits, target, ignore_index=IGNORE)
        table = loss(reduction="none")
        assert table.shape == target.shape
        assert not table[..., 0].any()
        torch.testing.assert_close(loss(reduction="sum"), table.sum())
        torch.testing.assert_close(loss(), table[..., 1:].mean())


# -- deep supervision, class balance, modules --------------------------------------------------


def test_deep_supervision_averages_the_heads():
    heads, target = [example(1, seed=seed)[0] for seed in range(3)], example(1)[1]
    losses = torch.stack([L.compound_loss(head, target) for head in heads])
    supervised = L.DeepSupervision(L.compound_loss)
    torch.testing.assert_close(supervised(heads, target), losses.mean())
    torch.testing.assert_close(supervised(heads[0], target), losses[0])
    weighted = L.deep_supervision(L.compound_loss, heads, target, weights=[0, 1, 3])
    torch.testing.assert_close(weighted, (losses[1] + 3 * losses[2]) / 4)


def test_class_balance():
    mask = torch.zeros(2, 1, 5, 5)
    mask[0, 0, 0] = 1
    assert L.class_balance(mask) == pytest.approx(0.9)
    assert L.class_balance(mask.long()) == L.class_balance(mask.bool()) == L.class_balance(mask)
    mask[1] = IGNORE
    assert L.class_balance(mask, ignore_index=IGNORE) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="ignore_index"):
        L.class_balance(mask)


@pytest.mark.parametrize(
    ("module", "function", "options"),
    [
        (L.CrossEntropyLoss, L.cross_entropy, {"weight": torch.tensor([1.0, 2.0, 3.0])}),
        (L.FocalLoss, L.focal_loss, {"gamma": 1.0}),
        (L.TverskyLoss, L.tversky_loss, {"alpha": 0.3, "beta": 0.7}),
        (L.DiceLoss, L.dice_loss, {"smooth": 2.0}),
        (L.JaccardLoss, L.jaccard_loss, {"reduction": "sum"}),
        (L.CompoundLoss, L.compound_loss, {"ignore_index": 0}),
    ],
)
def test_modules_are_the_functions(module, function, options):
    logits, target = example(3)
    loss = module(**options)
    torch.testing.assert_close(loss(logits, target), function(logits, target, **options))
    assert repr(loss).startswith(f"{module.__name__}({next(iter(options))}=")
    assert " at 0x" not in repr(L.DeepSupervision(loss, weights=[1, 2]))


@pytest.mark.parametrize(
    ("loss", "num_classes"),
    [
        (L.FocalLoss(alpha=0.3, gamma=1.5, ignore_index=IGNORE), 1),
        (L.FocalLoss(), 3),
        (L.TverskyLoss(alpha=0.3, beta=0.7, smooth=1e-5), 3),
        (L.CrossEntropyLoss(weight=[1.0, 2.0, 3.0], reduction="sum"), 3),
        (L.CompoundLoss(), 1),
    ],
)
def test_compiles_without_a_break(loss, num_classes):
    logits, target = example(num_classes)
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits, target), loss(logits, target))


# -- bad input ---------------------------------------------------------------------------------

ONE, THREE = torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4)
CLASSES = torch.zeros(1, 4, 4, dtype=torch.long)


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (CLASSES.float(), CLASSES.float(), "logits must be floats"),
        (ONE.long(), ONE, "logits must be floats"),
        (ONE[..., :0], ONE[..., :0], "not empty"),
        (ONE, ONE[0], "need a target"),
        (THREE, THREE, "need a target"),
        (THREE, CLASSES.float(), "integer class indices"),
        (ONE, ONE + 255, "ignore_index"),
        (ONE, ONE * torch.nan, "nan"),
        (THREE, CLASSES + 3, "ignore_index"),
        (THREE, CLASSES - 1, "ignore_index"),
    ],
)
@pytest.mark.parametrize("loss", [L.focal_loss, tversky, L.compound_loss])
def test_bad_tensors_raise(loss, logits, target, message):
    with pytest.raises(ValueError, match=message):
        loss(logits, target)


def test_entropies_reject_the_other_number_of_classes():
    with pytest.raises(ValueError, match="K = 1"):
        L.cross_entropy(ONE, ONE)
    with pytest.raises(ValueError, match="K = 3"):
        L.binary_cross_entropy(THREE, CLASSES)


def test_a_list_of_heads_needs_deep_supervision():
    with pytest.raises(TypeError, match="DeepSupervision"):
        L.compound_loss([ONE], ONE)


# -- pitfalls, in numbers ----------------------------------------------------------------------


def positive_share(loss, logit_of_positives, logit_of_negatives):
    """Share of 10 positive pixels in the absolute gradient, beside 90 negative ones."""
    target = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    target[..., 0] = 1
    logits = torch.where(target == 1, logit_of_positives, logit_of_negatives).double()
    _, gradient = value_and_gradient(loss, logits, target)
    return (gradient.abs() * target).sum() / gradient.abs().sum()


@pytest.mark.parametrize(("alpha", "share"), [(0.25, 0.036), (0.5, 0.1), (0.75, 0.25), (0.9, 0.5)])
@pytest.mark.parametrize("gamma", [0, 2])
def test_pitfall_alpha_of_the_paper_turns_the_rare_class_down(gamma, alpha, share):
    loss = functools.partial(L.focal_loss, gamma=gamma, alpha=alpha)
    assert positive_share(loss, 0.0, 0.0) == pytest.approx(share, abs=5e-4)


@pytest.mark.parametrize(
    ("gamma", "alpha", "share"), [(2, 0.25, 0.79), (2, 0.5, 0.92), (0, 0.25, 0.16), (0, 0.5, 0.36)]
)
def test_pitfall_gamma_lifts_the_rare_class_once_negatives_are_easy(gamma, alpha, share):
    loss = functools.partial(L.focal_loss, gamma=gamma, alpha=alpha)
    easy = torch.tensor(0.1, dtype=torch.float64).logit().item()
    assert positive_share(loss, 0.0, easy) == pytest.approx(share, abs=5e-3)


@pytest.mark.parametrize(
    ("alpha", "scale"), [(None, 0.25), (0.25, 0.175), (0.5, 0.125), (0.9, 0.045)]
)
def test_pitfall_focal_loss_changes_the_scale(alpha, scale):
    logits, target = torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    target[..., 0] = 1
    ratio = L.focal_loss(logits, target, alpha=alpha) / L.binary_cross_entropy(logits, target)
    assert ratio.item() == pytest.approx(scale, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.1, 0.5])
def test_pitfall_naive_power_has_no_gradient_where_gamma_is_below_1(gamma):
    logits, target = torch.full((1, 1, 1, 1), 17.0), torch.ones(1, 1, 1, 1)
    _, gradient = value_and_gradient(L.focal_loss, logits, target, gamma=gamma)
    assert gradient.isfinite().all()
    naive = functools.partial(sigmoid_focal_loss, alpha=-1, reduction="mean")
    _, gradient = value_and_gradient(naive, logits, target, gamma=gamma)
    assert gradient.isnan().all()  # torchvision; if this ever fails, it is fixed


def test_pitfall_bce_on_probabilities_does_not_learn_from_a_confident_error():
    logits, target = torch.full((1, 1, 1, 1), 200.0), torch.zeros(1, 1, 1, 1)
    value, gradient = value_and_gradient(L.binary_cross_entropy, logits, target)
    assert (value, gradient) == (200, 1)
    value, gradient = value_and_gradient(
        lambda x, y: F.binary_cross_entropy(x.sigmoid(), y), logits, target
    )
    assert (value, gradient) == (100, 0)


def test_pitfall_multiclass_focal_mean_of_monai_is_too_small_by_the_number_of_classes():
    logits, target = example(5)
    loss = monai.losses.FocalLoss(gamma=0.0, use_softmax=True, to_onehot_y=True)
    theirs = loss(logits, target[:, None])
    ours = L.focal_loss(logits, target, gamma=0)
    assert (ours / theirs).item() == pytest.approx(5, rel=1e-5)


@pytest.mark.parametrize("weights", [[0.2, 1, 3], (0.5, 0.25, 2.0), torch.tensor([1, 2, 3])])
def test_weights_of_classes_in_any_form_mean_the_same(weights):
    logits, target = example(3)
    floats = torch.tensor([float(weight) for weight in weights])
    ours = L.cross_entropy(logits, target, weight=weights)
    torch.testing.assert_close(ours, F.cross_entropy(logits, target, floats))
    ours = L.focal_loss(logits, target, gamma=0.0, alpha=weights, reduction="none")
    torch.testing.assert_close(ours, F.cross_entropy(logits, target, floats, reduction="none"))


@pytest.mark.parametrize("options", [{}, {"ignore_index": IGNORE}, {"reduction": "sum"}])
def test_weighted_binary_cross_entropy_is_that_of_two_classes(options):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 5, 6), torch.randint(0, 2, (2, 1, 5, 6)).float()
    target[:, :, 0] = options.get("ignore_index", 1)
    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    indices = target[:, 0].long()
    theirs = F.cross_entropy(
        both, indices, torch.tensor([0.5, 3.0]), ignore_index=options.get("ignore_index", -100),
        reduction=options.get("reduction", "mean"),
    )  # fmt: skip
    ours = L.binary_cross_entropy(logits, target, weight=[0.5, 3.0], **options)
    torch.testing.assert_close(ours, theirs)
    plain = L.binary_cross_entropy(logits, target, **options)
    torch.testing.assert_close(
        L.binary_cross_entropy(logits, target, weight=[1, 1], **options), plain
    )


def test_weighted_binary_cross_entropy_of_soft_targets():
    logits, target = torch.tensor([[[[0.3]]]]), torch.tensor([[[[0.25]]]])
    p = torch.sigmoid(logits)
    expected = -(2 * 0.25 * p.log() + 3 * 0.75 * (1 - p).log()) / (2 * 0.25 + 3 * 0.75)
    torch.testing.assert_close(
        L.binary_cross_entropy(logits, target, weight=[3, 2]), expected.squeeze()
    )


@pytest.mark.parametrize(("classes", "weight"), [(1, [1.0, 4.0]), (3, [1.0, 4.0, 2.0])])
def test_the_weights_of_the_compound_loss_are_those_of_its_cross_entropy(classes, weight):
    logits = torch.randn(2, classes, 4, 4)
    target = torch.randint(0, max(classes, 2), (2, 4, 4))
    target = target[:, None].float() if classes == 1 else target
    entropy = L.binary_cross_entropy if classes == 1 else L.cross_entropy
    torch.testing.assert_close(
        L.compound_loss(logits, target, weight=weight),
        L.dice_loss(logits, target) + entropy(logits, target, weight=weight),
    )
