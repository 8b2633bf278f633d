"""What the study claims, measured again."""

import csv

import pytest

from study.pretrained import TABLE, measure


def table():
    with TABLE.open(newline="") as file:
        return {row["quantity"]: row["value"] for row in csv.DictReader(file)}


def test_the_committed_weights_reach_what_the_table_says(nuclei_zip):
    for quantity, value in measure(nuclei_zip).items():
        if isinstance(value, float):
            assert value == pytest.approx(float(table()[quantity]), abs=0.002), quantity


def test_the_table_holds_what_the_course_promises():
    gain = float(table()["IoU per image"]) - float(table()["Otsu IoU per image"])
    assert gain >= 0.04
