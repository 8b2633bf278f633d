"""What all explorers share: the traits that are controls, and the two places that show them.

Where a kernel runs, a control is an ipywidget, joined by `jslink` to the explorer, which is an
anywidget. Where none runs, a control is a plain HTML input, joined by `host.js`. Both are made from
the same `Slider` and `Choice` traits, and both move the same JavaScript view.
"""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path

try:
    import anywidget
    import ipywidgets
except ImportError as error:
    raise ImportError(
        "segedu.explorers needs anywidget and ipywidgets: pip install 'segedu[book]'"
    ) from error
from traitlets import TraitType

from ..checks import check_choice, check_number
from ..plotting import COLOURS

LARGEST_PAGE = 60_000  # bytes that one explorer may add to a page


def read(name: str) -> str:
    """A file beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


PALETTE = "".join(f"--{name.replace(' ', '-')}: {colour}; " for name, colour in COLOURS.items())
STYLE = f".segedu-explorer {{ {PALETTE}}}\n{read('style.css')}"
SHARED, KERNEL, HOST = read("shared.js"), read("kernel.js"), read("host.js")


class Slider(TraitType):
    """A number from `least` to `most`, moved to the nearest step; a ValueError outside."""

    linked = "value"  # the trait of the ipywidget that holds the same as this one

    def __init__(self, default: float, least: float, most: float, step: float, label: str):
        super().__init__(default)
        self.least, self.most, self.step, self.label = least, most, step, label
        self.digits = len(str(step).partition(".")[2])
        self.tag(sync=True)

    def validate(self, explorer: "Explorer", value) -> float:
        number = check_number(self.name, value, self.least, self.most)
        return round(self.least + self.step * round((number - self.least) / self.step), self.digits)

    def widget(self, value: float) -> ipywidgets.Widget:
        kind = ipywidgets.FloatSlider if self.digits else ipywidgets.IntSlider
        limits = {"min": self.least, "max": self.most, "step": self.step}
        readout = f".{self.digits}f" if self.digits else "d"
        return kind(value, description=self.label, readout_format=readout, **limits)

    def html(self, value: float) -> str:
        return (
            f'<label><span>{escape(self.label)}</span><input type="range" name="{self.name}" '
            f'min="{self.least}" max="{self.most}" step="{self.step}" value="{value}">'
            f'<output data-digits="{self.digits}" aria-hidden="true"></output></label>'
        )


class Choice(TraitType):
    """One of `options`, given as {value: what a reader sees}; a ValueError for anything else.

    The page knows an option by its number, as the page's half of an ipywidget does.
    """

    linked = "index"

    def __init__(self, default, options: Mapping, label: str):
        super().__init__(default)
        self.options, self.label = options, label
        self.tag(
            sync=True,
            to_json=lambda value, _: list(options).index(value),
            from_json=lambda index, _: list(options)[index],
        )

    def validate(self, explorer: "Explorer", value):
        check_choice(self.name, value, self.options)
        return value

    def widget(self, value) -> ipywidgets.Widget:
        options = [(text, option) for option, text in self.options.items()]
        return ipywidgets.Dropdown(options=options, value=value, description=self.label)

    def html(self, value) -> str:
        inputs = "".join(
            f'<label><input type="radio" name="{self.name}" value="{index}"'
            f"{' checked' if option == value else ''}><span>{escape(text)}</span></label>"
            for index, (option, text) in enumerate(self.options.items())
        )
        return f"<fieldset><legend>{escape(self.label)}</legend><div>{inputs}</div></fieldset>"


class Explorer(anywidget.AnyWidget):
    """An interactive figure: a subclass has its controls as traits, and `view`, a JavaScript file.

    `needs` names the files whose functions the view uses, `style` is its CSS, and `still` is what
    the page shows until the view runs, or in its place where it cannot.

    Show it by ending a cell with it. Its controls can be set (`explorer.gamma = 3`) and observed,
    as traits of any widget.
    """

    view: str
    needs: tuple[str, ...] = ()
    style = STYLE
    still = ""
    largest_page = LARGEST_PAGE
    # ipywidgets 7 would show the view without its controls
    _ipython_display_ = None

    def __init_subclass__(cls, **options):
        if "view" in vars(cls):
            cls._css = cls.style
            cls._esm = "\n".join([SHARED, cls.source(), KERNEL])
        super().__init_subclass__(**options)

    @classmethod
    def source(cls) -> str:
        """The view in JavaScript, with what it needs."""
        return "\n".join(map(read, (*cls.needs, cls.view)))

    def __init__(self, **values):
        if unknown := set(values) - set(self.trait_names()):
            raise TypeError(
                f"{type(self).__name__} has no {', '.join(sorted(unknown))}, only the controls "
                + ", ".join(control.name for control in self.controls)
            )
        super().__init__(**values)
        size = len(self.to_html().encode())
        if size > self.largest_page:
            raise ValueError(
                f"this {type(self).__name__} would add {size:,} bytes to its page, and at most "
                f"{self.largest_page:,} are allowed: pass a smaller part of the data"
            )

    @property
    def controls(self) -> list[Slider | Choice]:
        """The controls from top to bottom."""
        return [
            trait
            for kind in reversed(type(self).__mro__)
            for trait in vars(kind).values()
            if isinstance(trait, Slider | Choice)
        ]

    def to_widget(self) -> ipywidgets.Widget:
        """The figure with its controls as ipywidgets."""
        widgets = []
        for control in self.controls:
            widget = control.widget(getattr(self, control.name))
            # The explorer comes first: where the two differ when they meet, it is right.
            ipywidgets.jslink((self, control.name), (widget, control.linked))
            widgets.append(widget)
        box = ipywidgets.VBox([*widgets, self])
        box.add_class("segedu-explorer")
        return box

    def to_html(self) -> str:
        """The figure with its controls as plain HTML: what stands in a page without a kernel."""
        controls = "".join(control.html(getattr(self, control.name)) for control in self.controls)
        own = set(self.trait_names()) - set(anywidget.AnyWidget.class_trait_names())
        state = self.get_state([name for name in own if not name.startswith("_")])
        data = json.dumps(state, sort_keys=True).replace("<", r"\u003c")
        return (
            f'<div class="segedu-explorer"><style>{self.style}</style>\n'
            f'<form autocomplete="off">{controls}</form><div>{self.still}</div>\n'
            f"<script>(() => {{\n{SHARED}\n{self.source()}\n{HOST}\n"
            f"host(document.currentScript.parentElement, {data});\n}})();</script></div>"
        )

    def _repr_mimebundle_(self, **options):
        data, metadata = super()._repr_mimebundle_(**options)
        view = data["application/vnd.jupyter.widget-view+json"]
        view["model_id"] = self.to_widget().model_id
        data["text/html"] = self.to_html()
        return data, metadata

    def __repr__(self) -> str:
        values = (f"{control.name}={getattr(self, control.name)!r}" for control in self.controls)
        return f"{type(self).__name__}({', '.join(values)})"
