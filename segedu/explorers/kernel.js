// Where a kernel runs, ipywidgets are the controls and this module is the anywidget's. Two things
// that ipywidgets leave out are added when one of their controls gets the focus.

document.addEventListener("focusin", ({ target }) => {
  const control = target.closest(".segedu-explorer .jupyter-widgets.widget-inline-hbox");
  if (!control) return;
  target.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  target.setAttribute("aria-label", control.querySelector("label").textContent);
});

export default { render };
