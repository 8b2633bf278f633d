"""Exercises in which a whole network is built: they compare what the networks answer.

Every weight gets numbers that depend on its shape alone, so the order in which a learner registers
the layers does not matter: two networks of the same layers, connected in the same way, give the
same answer.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from .answer import Answer, _gradient, _same, check

REFUSED, ANSWERED = "an error", "an answer to sides that do not fit"
UNREGISTERED = "the answer depends on weights that the network does not know"
CUT = (
    "the gradient is cut off inside the network, though its values are right: without detach() and "
    "torch.no_grad() all of it can learn"
)
TOLERANCE = 1e-4


def fill(module: nn.Module) -> nn.Module:
    """A network in eval mode, with weights and statistics that depend on their shapes only.

    Biases of convolutions are set to 0, because before a normalisation they may be left out. A 1x1
    convolution is a head, which no normalisation follows: its bias is 0.5.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                generator = torch.Generator().manual_seed(0)
                values = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(values * (2 / parameter[0].numel()) ** 0.5)
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and part.bias is not None:
                part.bias.fill_(0.5 if part.kernel_size == (1, 1) else 0)
            elif isinstance(part, nn.BatchNorm2d):
                part.running_mean.fill_(-0.1)
                part.running_var.fill_(0.5)
    return module.eval()


@cache
def error_of(message: str) -> type[RuntimeError]:
    """A RuntimeError of its own for each message, because a check compares errors by their type."""
    return type("RuntimeError", (RuntimeError,), {})


def uses_only_its_own(network: nn.Module, images: Tensor) -> Tensor | str:
    """What a network makes of images, or UNREGISTERED if it used weights that it does not know.

    Two networks raise the same error only if its message is the same: layers that do not fit
    together differ in the numbers there.
    """
    used = []
    hook = register_module_forward_hook(lambda part, *_: used.extend(part.parameters(False)))
    try:
        answer = network(images)
    except RuntimeError as error:
        raise error_of(str(error))(str(error)) from None
    finally:
        hook.remove()
    registered = set(map(id, network.parameters()))
    return answer if all(id(weight) in registered for weight in used) else UNREGISTERED


def cuts_gradient(network: nn.Module, right: nn.Module, images: Tensor) -> bool:
    """Whether the images' gradient differs from that of a network which gives the same answer."""

    def gradient(one):
        return _gradient(lambda x: torch.stack(list(one(x))), images.clone())  # of all heads

    with torch.enable_grad():
        return not _same(gradient(network), gradient(right), TOLERANCE)


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
    first : how many channels the first block takes, made from the list of all.
    takes : how many channels a block on the way up takes, made from those of the row and those of
        the row below; by default those that it gets.
    join : how a skip meets the map from below: "cat", "swapped" (behind it), "added" or "none".
    up : "bilinear", "corners" (bilinear with aligned corners), "nearest", "fitted" (bilinear, to
        the size of the skip) or "transposed".
    pool : halves a map. `pool_image` halves the image too, `pool_bottom` the last map.
    skips : the maps of the way down as the way up sees them.
    from_encoder : every row of the way up takes the encoder's map of the row below.
    holder : what holds the blocks. A plain list does not register them.
    head : the kernel of the head; 0 for none. `head_bias`: whether it has a bias.
    """

    def __init__(
        self, channels: Sequence[int], *, first=lambda channels: 1, takes=None, join="cat",
        up="bilinear", pool=F.max_pool2d, pool_image=False, pool_bottom=False,
        skips=lambda maps: maps, from_encoder=False, holder=nn.ModuleList, classes=1, head=1,
        head_bias=True, final=None, **options,
    ):  # fmt: skip
        super().__init__()
        self.join, self.up, self.pool, self.pool_image = join, up, pool, pool_image
        self.pool_bottom, self.skips, self.from_encoder = pool_bottom, skips, from_encoder
        self.final = final or nn.Identity()
        widths = pairwise((first(channels), *channels))
        self.down = holder([block(a, b, **options) for a, b in widths])
        pairs = list(pairwise(channels))  # of a row and of the row below
        self.larger = holder([
            nn.ConvTranspose2d(below, own, 2, stride=2) if up == "transposed"
            else nn.Upsample(scale_factor=2, mode="nearest") if up == "nearest"
            else nn.Upsample(scale_factor=2, mode="bilinear", align_corners=up == "corners")
            for own, below in pairs
        ])  # fmt: skip
        takes = takes or self._takes
        self.back = holder([block(takes(*pair), pair[0], **options) for pair in pairs])
        self.head = nn.Identity()
        if head:
            self.head = nn.Conv2d(channels[0], classes, head, padding="same", bias=head_bias)

    def _takes(self, own: int, below: int) -> int:
        from_below = own if self.up == "transposed" else below
        return from_below + own * (self.join != "none")

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for row, part in enumerate(self.down):
            x = part(self.pool(x, 2) if row or self.pool_image else x)
            maps.append(x)
        if self.pool_bottom:
            x = self.pool(x, 2)
        skips = self.skips(maps)
        for row in reversed(range(len(self.back))):
            below = maps[row + 1] if self.from_encoder else x
            if self.up == "fitted":
                below = F.interpolate(below, skips[row].shape[2:], mode="bilinear")
            else:
                below = self.larger[row](below)
            parts = [skips[row], below]
            if self.join == "added":
                parts = [sum(parts)]
            order = {"swapped": parts[::-1], "none": parts[1:]}.get(self.join, parts)
            x = self.back[row](torch.cat(order, dim=1))
        return self.final(self.head(x))


class OnlyEven(Built):
    """A U-Net that stretches its maps, and refuses odd sides alone."""

    def __init__(self, channels: Sequence[int]):
        super().__init__(channels, up="fitted")

    def forward(self, x: Tensor) -> Tensor:
        if any(side % 2 for side in x.shape[2:]):
            raise ValueError("expected even sides")
        return super().forward(x)


def check_unet(submission: Callable[[Sequence[int]], nn.Module]) -> Answer:
    """Check a class, or a function, that makes a U-Net from the channels of its rows.

    The network maps (N, 1, H, W) images to (N, 1, H, W) logits; `channels` is a tuple, full
    resolution first. The check gives every weight numbers that depend on its shape only, and the
    head a bias, so layers may be registered in any order. Then it compares the answers in
    evaluation mode. An image with a side that does not fit has to raise an error.

    >>> check_unet(lambda channels: Built(channels, join="none"))
    not yet: the skips are missing: each block on the way up also takes the map from the way down
    """

    right = cache(lambda channels: fill(Built(channels)))

    def run(make, channels, images):
        network = make(channels)
        if not isinstance(network, nn.Module):
            return network
        with torch.no_grad():
            if not any(side % 2 ** (len(channels) - 1) for side in images.shape[2:]):
                answer = uses_only_its_own(fill(network), images)
                if not _same(answer, right(channels)(images), TOLERANCE):
                    return answer
                return CUT if cuts_gradient(network, right(channels), images) else answer
            try:
                fill(network)(images)
            except Exception:  # of any kind: torch.cat raises one, a network may raise its own
                return REFUSED
            return ANSWERED

    def made(**mistake):
        return lambda channels: Built(channels, **mistake)

    generator = torch.Generator().manual_seed(0)
    shapes = [((4, 8), 8, 8), ((4, 8, 16), 16, 16), ((3, 5, 7), 16, 24), ((2, 4, 8, 16), 32, 16),
              ((5, 3), 10, 6), ((4, 4, 4), 24, 16), ((4, 8), 9, 7), ((4, 8, 16), 18, 16),
              ((4, 8, 16), 16, 18)]  # fmt: skip
    cases = [
        (channels, torch.rand(2, 1, height, width, generator=generator))
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
        "the maps of the way down are used from the first to the last: the way up begins with the "
        "row above the bottom": made(skips=lambda maps: maps[-2::-1]),
        "a skip is too small: keep each map before it is pooled, and begin with the row above the "
        "bottom, whose map is no skip": made(skips=lambda maps: [F.max_pool2d(x, 2) for x in maps]),
        "the maps are added: concatenate them along the channels, torch.cat([skip, x], dim=1)": (
            made(join="added", takes=lambda own, below: own)
        ),
        "the maps are added, and the block is made for their concatenation: write "
        "torch.cat([skip, x], dim=1)": made(join="added", takes=lambda own, below: own + below),
        "a block on the way up is made for twice the channels of its row, but it gets those of "
        "its row and those of the row below": made(takes=lambda own, below: 2 * own),
        "a block on the way up is made for the channels of the row below, but the skip comes on "
        "top of them": made(takes=lambda own, below: below),
        "the first block is made for channels[0] channels, but the image has 1": made(
            first=lambda channels: channels[0]
        ),
        "the last map is pooled too: there is one pooling less than there are rows": made(
            pool_bottom=True
        ),
        "an image with sides that do not fit has to raise an error: upsample by scale_factor=2, "
        "not to the size of the skip, and pad before the network, not in it": made(up="fitted"),
        "an odd side raises an error, but other sides that do not fit get an answer: each pooling "
        "halves them, so they have to be multiples of 2^L for L poolings": OnlyEven,
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
        "the network ends in a threshold, through which no gradient flows: return logits": made(
            final=lambda logits: logits > 0
        ),
        "the channel has been taken out of the answer: logits are (N, 1, H, W)": made(
            final=lambda logits: logits[:, 0]
        ),
        "the answer has two channels: one logit per pixel is enough for one class": made(classes=2),
        "the head is missing: a 1x1 convolution makes one logit of the channels": made(head=0),
        "the head is a 3x3 convolution: the exercise asks for 1x1": made(head=3),
        "the head has no bias: only a convolution that is followed by a normalisation can do "
        "without": made(head_bias=False),
        "the head is normalised: it is the 1x1 convolution alone": made(final=nn.BatchNorm2d(1)),
        "the head is a whole block, which ends in a ReLU: it is a 1x1 convolution alone": (
            lambda channels: nn.Sequential(Built(channels, head=0), block(channels[0], 1))
        ),
        "batch normalisation is missing in the blocks": made(norm=False),
        "the ReLUs are missing in the blocks": made(relu=False),
        "the convolutions of the blocks have no padding, so each removes 2 rows and columns": made(
            padding=0
        ),
        "a block has two convolutions, here is one": made(layers=1),
        "some layers are not registered, so no optimizer would train them: make them in __init__ "
        "and keep them as attributes, in nn.Sequential or in nn.ModuleList, not in a plain list": (
            made(holder=list)
        ),
        CUT: made(final=torch.detach),
    }
    return check(submission, Built, cases, misconceptions, run=run, tolerance=TOLERANCE)
