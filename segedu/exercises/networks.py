"""Exercises in which a whole network is built: they compare what the networks answer.

Every weight gets numbers that depend on its shape alone, so the order in which a learner registers
the layers does not matter: two networks of the same layers, connected in the same way, give the
same answer.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from .answer import Answer, check

UNREGISTERED = "the answer depends on weights that the network does not know"


def fill(module: nn.Module) -> nn.Module:
    """A network in eval mode, with weights and statistics that depend on their shapes only.

    Biases of convolutions are set to 0, because before a normalisation they may be left out.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                generator = torch.Generator().manual_seed(0)
                values = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(values * (2 / parameter[0].numel()) ** 0.5)
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and part.bias is not None:
                part.bias.zero_()
            elif isinstance(part, nn.BatchNorm2d):
                part.running_mean.fill_(-0.1)
                part.running_var.fill_(0.5)
    return module.eval()


def uses_only_its_own(network: nn.Module, images: Tensor) -> Tensor | str:
    """What a network makes of images, or UNREGISTERED if it used weights that it does not know."""
    used = []
    hook = register_module_forward_hook(lambda part, *_: used.extend(part.parameters(False)))
    try:
        answer = network(images)
    finally:
        hook.remove()
    registered = set(map(id, network.parameters()))
    return answer if all(id(weight) in registered for weight in used) else UNREGISTERED


def block(before: int, width: int, *, norm=True, relu=True, layers=2, padding=1) -> nn.Sequential:
    """The block of the exercises, or one that lacks something."""
    parts = []
    for _ in range(layers):
        parts.append(nn.Conv2d(before, width, 3, padding=padding, bias=not norm))
        parts += [nn.BatchNorm2d(width)] * norm + [nn.ReLU()] * relu
        before = width
    return nn.Sequential(*parts)


class Built(nn.Module):
    """A U-Net as the exercise asks for it, or with one mistake.

    Parameters
    ----------
    join : how a skip meets the map from below: "cat", "swapped" (behind it), or "none".
    up : "bilinear", "corners" (bilinear with aligned corners), "nearest" or "transposed".
    pool : halves a map. `pool_image` halves the image too.
    from_encoder : every row of the way up takes the encoder's map of the row below.
    holder : what holds the blocks. A plain list does not register them.
    """

    def __init__(
        self, channels: Sequence[int], *, join="cat", up="bilinear", pool=F.max_pool2d,
        pool_image=False, from_encoder=False, holder=nn.ModuleList, classes=1, head=True,
        final=None, **options,
    ):  # fmt: skip
        super().__init__()
        self.join, self.up, self.pool, self.pool_image = join, up, pool, pool_image
        self.from_encoder = from_encoder
        self.final = final or nn.Identity()
        self.down = holder([block(a, b, **options) for a, b in pairwise((1, *channels))])
        pairs = list(pairwise(channels))  # of a row and of the row below
        self.larger = holder([
            nn.ConvTranspose2d(below, own, 2, stride=2) if up == "transposed"
            else nn.Upsample(scale_factor=2, mode="nearest") if up == "nearest"
            else nn.Upsample(scale_factor=2, mode="bilinear", align_corners=up == "corners")
            for own, below in pairs
        ])  # fmt: skip
        self.back = holder([block(self._takes(*pair), pair[0], **options) for pair in pairs])
        self.head = nn.Conv2d(channels[0], classes, 1) if head else nn.Identity()

    def _takes(self, own: int, below: int) -> int:
        from_below = own if self.up == "transposed" else below
        return from_below + own * (self.join != "none")

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for row, part in enumerate(self.down):
            x = part(self.pool(x, 2) if row or self.pool_image else x)
            maps.append(x)
        for row in reversed(range(len(self.back))):
            below = maps[row + 1] if self.from_encoder else x
            parts = [maps[row], self.larger[row](below)]
            order = {"cat": parts, "swapped": parts[::-1], "none": parts[1:]}[self.join]
            x = self.back[row](torch.cat(order, dim=1))
        return self.final(self.head(x))


def check_unet(submission: Callable[[Sequence[int]], nn.Module]) -> Answer:
    """Check a class, or a function, that makes a U-Net from the channels of its rows.

    The network maps (N, 1, H, W) images to (N, 1, H, W) logits; full resolution is the first of the
    channels. The check gives every weight numbers that depend on its shape only, so layers may be
    registered in any order. Then it compares the answers in evaluation mode.

    >>> check_unet(lambda channels: Built(channels, join="none"))
    not yet: the skips are missing: each block on the way up also takes the map from the way down
    """

    def run(make, channels, images):
        network = make(channels)
        if not isinstance(network, nn.Module):
            return network
        with torch.no_grad():
            return uses_only_its_own(fill(network), images)

    def made(**mistake):
        return lambda channels: Built(channels, **mistake)

    generator = torch.Generator().manual_seed(0)
    shapes = [((4, 8), 8, 8), ((4, 8, 16), 16, 16), ((3, 5, 7), 16, 24), ((2, 4, 8, 16), 32, 16),
              ((5, 3), 10, 6), ((4, 4, 4), 24, 16)]  # fmt: skip
    cases = [
        (list(channels), torch.rand(2, 1, height, width, generator=generator))
        for channels, height, width in shapes
    ]
    misconceptions = {
        "the skips are missing: each block on the way up also takes the map from the way down": (
            made(join="none")
        ),
        "the skip stands behind the map from below; in this course it stands first": made(
            join="swapped"
        ),
        "each row of the way up takes the encoder's map of the row below: take what the decoder "
        "has made there": made(from_encoder=True),
        "the channels are used from the last to the first: the first are those of full "
        "resolution": lambda channels: Built(channels[::-1]),
        "the image is pooled before the first block, so the answer has half its size: pool "
        "between the blocks": made(pool_image=True),
        "the maps are halved by their mean: the exercise asks for max pooling": made(
            pool=F.avg_pool2d
        ),
        "the upsampling repeats pixels (nearest): the exercise asks for bilinear": made(
            up="nearest"
        ),
        "the upsampling has align_corners=True: with False the result does not depend on the "
        "size": made(up="corners"),
        "the upsampling is a learnt transposed convolution: the exercise asks for bilinear": made(
            up="transposed"
        ),
        "the network ends in a sigmoid: losses and thresholds here take logits": made(
            final=nn.Sigmoid()
        ),
        "the network ends in a softmax, which is 1 everywhere for one channel: return logits": made(
            final=nn.Softmax(dim=1)
        ),
        "the network ends in a ReLU, but the logits of the background are negative": made(
            final=nn.ReLU()
        ),
        "the answer has two channels: one logit per pixel is enough for one class": made(classes=2),
        "the head is missing: a 1x1 convolution makes one logit of the channels": made(head=False),
        "batch normalisation is missing in the blocks": made(norm=False),
        "the ReLUs are missing in the blocks": made(relu=False),
        "a block has two convolutions, here is one": made(layers=1),
        "some layers are not registered, so no optimizer would train them: make them in __init__ "
        "and keep them as attributes, in nn.Sequential or in nn.ModuleList, not in a plain list": (
            made(holder=list)
        ),
    }
    return check(submission, Built, cases, misconceptions, run=run, tolerance=1e-4)
