"""Pairs that are read once and kept on the disk."""

import pickle

import pytest
import torch
from torchvision import tv_tensors

from segedu.data import CachedDataset, SyntheticNuclei, train_transform
from tests.helpers import indexed_like_a_list


class Counted:
    """Pairs that count how often they are read, with a mask value below 0 and one above 255."""

    def __init__(self):
        self.reads = 0

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.reads += 1
        mask = torch.tensor([[-1, 300], [index, 0]])
        return tv_tensors.Image(torch.full((2, 2, 2), index / 7)), tv_tensors.Mask(mask)


def test_pairs_come_back_as_they_were_and_are_read_once(tmp_path):
    source = Counted()
    data = CachedDataset(source, tmp_path)
    assert source.reads == 3
    indexed_like_a_list(data, 3)
    for index in range(3):
        for ours, theirs in zip(data[index], Counted()[index], strict=True):
            assert type(ours) is type(theirs)
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)
    assert source.reads == 3


def test_writing_into_a_pair_does_not_change_the_next(tmp_path):
    data = CachedDataset(SyntheticNuclei(1, size=32), tmp_path)
    image, mask = data[0]
    before = image.clone(), mask.clone()
    image.zero_()
    mask.zero_()
    assert all(map(torch.equal, data[0], before))


def test_a_crop_is_that_of_the_data_set_also_in_another_process(tmp_path):
    source = SyntheticNuclei(2, size=64)
    data = pickle.loads(pickle.dumps(CachedDataset(source, tmp_path)))  # as to a worker
    crops = []
    for pairs in (source, data):
        torch.manual_seed(0)
        crops.append(train_transform(32)(*pairs[1]))
    assert all(map(torch.equal, *crops))


def test_a_pair_that_cannot_be_read_is_found_at_once(tmp_path):
    class Broken(Counted):
        def __getitem__(self, index):
            if index == 2:
                raise ValueError("c.png holds the values [7]")
            return super().__getitem__(index)

    with pytest.raises(ValueError, match=r"c\.png"):
        CachedDataset(Broken(), tmp_path)
