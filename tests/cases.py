"""What people do with the package, and what happens then: the page `docs/what_happens.md`.

Each case is a function of an empty folder that raises an error or returns a sentence about the
outcome. The test compares the outcome with the page; `python -m tests.cases` writes the page anew.
"""

import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[1] / "docs" / "what_happens.md"
LONGEST = 150  # characters of a message that the page shows

HEAD = """\
# What happens if ...

Training is killed, a mask has the wrong size, a download breaks off: this page collects what
goes wrong in practice. Each section says why the mistake matters and what to do about it, and then
what the package does in each case. These outcomes are real: the tests make every mistake and
compare the outcome with this page.

Text in quotation marks is an error message, shortened where it is long. In Python it is an
exception; on the command line it is one line that begins with `error:`. `./` stands for the
folder of the files.
"""

# Parts of the page, their sections, and what each section says before its cases.
PARTS = {
    "Training": {
        "Training is stopped": """\
**Why it matters.** Training takes hours, and power cuts, time limits and Ctrl-C come at any
moment, also while a file is being written. So every file is written under another name first
and then renamed: it is the old one or the new one, never half of either.

**What to do.** Give the same command again with `--resume`.""",
        "You resume another run, or write over one": """\
**Why it matters.** A run that changed its settings half-way cannot be repeated, and its history
belongs to neither setting. And a typing error in `--out` should not cost you last night's
network.

**What to do.** Resume with the settings and images of the run, or choose another folder.""",
        "There is no room, or no folder": """\
**Why it matters.** A full disk is often noticed only when the result is to be saved.

**What to do.** Make room and resume. The last state that was written is still good.""",
        "The loss is no longer a number": """\
**Why it matters.** One NaN in a weight spreads to all of them, and every later step is wasted.

**What to do.** Look at the images and masks that the message names. If they are fine, train
again with a smaller learning rate.""",
        "Sizes and numbers do not fit": """\
**Why it matters.** These errors would otherwise appear deep inside a layer, as a complaint
about shapes.

**What to do.** Change the number that the message names.""",
    },
    "Weights": {
        "The file is damaged, or not ours": """\
**Why it matters.** A pickle, which is what `torch.save` writes, can run any code when it is
opened, and a file with one wrong bit can still load and predict nonsense. The package reads
only safetensors files, which hold no code, and compares a checksum.

**What to do.** Copy or download the file again. Weights that another library wrote are
refused.""",
        "Names and thresholds": """\
**Why it matters.** A mask depends on the weights *and* on the threshold, so both are stored
together.

**What to do.** Check the name. Give another threshold only if you chose it on validation
images.""",
    },
    "Pictures to segment": {
        "Pictures of every size and kind": """\
**Why it matters.** Microscopes and cameras write many kinds of pictures, and a network needs
sides that it can halve several times. `segedu.predict` pads and cuts as needed, and large
pictures are predicted in tiles.

**What to do.** Nothing: these all work.""",
        "Values that are not numbers": """\
**Why it matters.** Each convolution spreads a NaN to its neighbours. In the end every pixel
whose receptive field contains it is NaN.

**What to do.** Replace such pixels, for example by the mean of their neighbours.""",
        "The network does not fit the picture": """\
**Why it matters.** A network is built for a fixed number of channels, and it halves the
sides of its input several times.

**What to do.** Let `segedu.predict` pad, or follow the message.""",
    },
    "The nuclei of the Data Science Bowl": {
        "The archive is damaged, or another one": """\
**Why it matters.** A broken download can look complete. If a few masks are missing, training
still works, and every score is a little wrong.

**What to do.** Download the archive again, and give its path as it is, without unpacking it.""",
        "The archive contains something odd": """\
**Why it matters.** An archive from the internet can contain anything: paths that lead out of
its folder, links, or a small file that unpacks to gigabytes. Only the files in the course's
table are read, and nothing is unpacked to the disk.

**What to do.** Nothing if it works; otherwise download the archive again.""",
        "The cache beside the archive": """\
**Why it matters.** Reading thousands of small pictures is slow, so the first use writes a
cache, `stage1_train.zip.segedu.npz`. Several processes may want it at the same time, and any of
them may be killed.

**What to do.** Nothing. If a message says that the cache is damaged, delete it.""",
        "The download fails": """\
**Why it matters.** Without the archive the chapters still run, on synthetic nuclei; the results
on real ones need it.

**What to do.** Try again later, or download the archive in a browser and give its path.""",
    },
    "Your own pictures": {
        "A mask has the wrong size or direction": """\
**Why it matters.** A mask that is shifted or turned teaches the network the wrong pixels, and
nothing crashes.

**What to do.** Resize masks without interpolation (*nearest neighbour*), and look at
`preview.png`, which `segedu info` writes.""",
        "A mask has unexpected values": """\
**Why it matters.** Masks come as 0 and 1, as 0 and 255, as class numbers, or as colours, and a
wrong guess trains the wrong classes. The package accepts what can be read in one way only and
refuses the rest.

**What to do.** `segedu convert` turns most kinds of masks into the right one. Set
`ignore_index` if a value marks pixels that nobody labelled.""",
        "Images of another kind": """\
**Why it matters.** Depth, colour and transparency differ between programs. What can be read
exactly is read; nothing is rounded without a word.

**What to do.** Save the pictures that are refused as grey or RGB, in PNG or TIFF.""",
        "Pairs and names do not match": """\
**Why it matters.** If an image met the mask of another image, training would go on and learn
nothing.

**What to do.** Give an image and its mask the same name. The ending may differ.""",
        "A file cannot be read": """\
**Why it matters.** Every file is checked before training starts, so that it does not stop in
the middle of the night.

**What to do.** Save the picture again, or leave it out together with its mask.""",
        "The folder is not as expected": """\
**Why it matters.** The package looks for `images/` and `masks/` in the folder that you name.

**What to do.** Name the folder above `images/` and `masks/`, or make such a folder with `segedu
convert`.""",
    },
}  # fmt: skip


class Case(NamedTuple):
    section: str  # on the page
    what: str  # completes "What happens if ..."
    act: Callable[[Path], str]  # raises an error, or returns the outcome in words


def answer(case: Case, folder: Path) -> str:
    """The outcome of a case, on one line and without the name of its folder."""
    try:
        said = case.act(folder) or "nothing is said"
    except (Exception, KeyboardInterrupt) as error:
        said = f"{type(error).__name__}: {error}"
    return " ".join(said.replace(f"{folder}", ".").split())


def shortened(message: str) -> str:
    """A message without long brackets and paths and, if it is still long, cut after a part.

    >>> shortened("cannot read a.png (an explanation that takes more than 40 characters); save it")
    'cannot read a.png; save it'
    """
    message = re.sub(r" \([^()]{41,}\)", "", message)
    message = re.sub(r"\{[^{}]{41,}\}", "{...}", message)
    message = re.sub(r": Error while deserializing[^(]*", " ", message).strip()
    message = re.sub(r"\S*<image_id>/", ".../", message)
    message = re.sub(r"https?://\S+/", "https://.../", message)
    message = re.sub(r"masks [0-9a-f]{8}", "masks ...", message)  # a checksum
    if len(message) <= LONGEST:
        return message
    main = message[: LONGEST - 4]
    for mark in ("; ", ". ", ", ", ": "):
        if mark in main:
            return f"{main[: main.rindex(mark)]} ..."
    return f"{main} ..."


def line(case: Case, said: str) -> str:
    """The case on the page."""
    error, _, message = said.partition(": ")
    if re.fullmatch(r"\w+(Error|Interrupt)", error):
        said = f"“{shortened(message)}”"
    said = re.sub(r"[*<]", r"\\\g<0>", said)  # what Markdown would read as its own
    return f"- **If {case.what}**{', it ' if said.startswith('works') else ': '}{said}."


def page(cases: Iterable[Case]) -> str:
    """The whole page, with every case tried."""
    cases, parts = list(cases), [HEAD]
    for part, sections in PARTS.items():
        parts.append(f"## {part}\n")
        for section, text in sections.items():
            parts.append(f"### {section}\n\n{text}\n")
            for case in cases:
                if case.section == section:
                    with tempfile.TemporaryDirectory() as folder:
                        parts.append(line(case, answer(case, Path(folder))))
            parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    from tests import cases_data, cases_training

    text = page([*cases_training.CASES, *cases_data.CASES])
    PAGE.write_text(text, encoding="utf-8", newline="\n")
