"""A Sphinx extension for the book on paper: where no script runs, a live figure is a picture."""

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

import segedu


class Pictures(SphinxPostTransform):
    """Puts its own still picture in the place of a live figure of a page, such as the first."""

    default_priority = 5  # before pictures that are part of a page are saved as files
    builders = ("singlehtml", "epub")

    def run(self, **_):
        for node in list(self.document.findall(nodes.raw)):
            still = re.search(r'<figure><img alt="([^"]*)" src="(data:[^"]+)">', node.astext())
            if still:
                alt, data = still.groups()
                node.replace_self(nodes.image(alt=alt, uri=data, candidates={"?": data}))


def know_version(app, config):
    config.version = config.version or segedu.__version__  # which an EPUB has to have


def setup(app):
    app.connect("config-inited", know_version)
    app.add_post_transform(Pictures)
    return {"parallel_read_safe": True}
