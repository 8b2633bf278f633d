"""The study of the skips: what is switched off stays off, and the committed table is complete."""

import itertools

import torch

from segedu import UNet
from segedu.files import read_rows
from study.skips import CHANNELS, CUTS, RESULT, SEEDS, switch_off


def decoder_input(model, row):
    """The weights with which a decoder's block takes its skip, and the rest."""
    weight = model.blocks[f"{row}_{model.depth - row}"][0].weight
    return weight.split([model.channels[row], weight.shape[1] - model.channels[row]], dim=1)


def test_a_skip_that_is_switched_off_stays_off_in_training():
    torch.manual_seed(0)
    model = switch_off(UNet(1, 1, channels=CHANNELS), (0, 2))
    before = [decoder_input(model, row)[1].clone() for row in range(3)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.rand(2, 1, 16, 16)).square().mean().backward()
        optimizer.step()
    for row in range(3):
        skip, rest = decoder_input(model, row)
        assert (skip == 0).all().item() == (row in (0, 2))
        assert not torch.equal(rest, before[row])


def test_the_table_has_every_training():
    rows = {(row["seed"], row["off"], row["trained"]) for row in read_rows(RESULT)}
    seeds = [str(seed) for seed in SEEDS]
    wanted = {("", "", "otsu"), *((seed, "none", "without") for seed in seeds)}
    for seed, off, trained in itertools.product(seeds, CUTS, ("with", "refitted", "without")):
        if off != "none":
            wanted.add((seed, off, trained))
    assert rows == wanted
