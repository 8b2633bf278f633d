// A page from file:// may not read the others, from which the search takes its summaries.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false

document.addEventListener("DOMContentLoaded", () => {
  // The arrow beside a chapter in the menu, which folds what goes deeper, gets a name.
  for (const arrow of document.querySelectorAll(".bd-links summary")) {
    const chapter = arrow.closest("li").querySelector("a").textContent.trim()
    arrow.setAttribute("aria-label", `Pages below ${chapter}`)
  }

  // On a phone the contents of a page lie over it: out of the way once an entry is chosen.
  const contents = document.getElementById("pst-secondary-sidebar-modal")
  contents?.addEventListener("click", event => {
    if (!event.target.closest("a")) return
    contents.close()
    // The theme hands the focus back to the button, whose tooltip would then stay.
    contents.addEventListener("close", () => document.activeElement.blur(), { once: true })
  })
})

// On paper nothing can be opened: answers and solutions are shown, the code of drawings is not.
let opened = []
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open], .above-input)")]
  for (const details of opened) details.open = true
})
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false
})

// Where a figure is shown much smaller than on a large screen, a tap shows it at that size, to be
// moved about.
const fullWidth = image => Math.min(image.naturalWidth, 720)

function mark() {
  for (const image of document.querySelectorAll(".bd-article img")) {
    const isSmall = image.width > 0 && image.width < 0.8 * fullWidth(image)
    image.classList.toggle("enlargeable", isSmall && !image.closest("a, .segedu-explorer"))
  }
}
addEventListener("load", mark)
addEventListener("resize", mark)
document.addEventListener("click", ({ target }) => {
  if (!target.matches?.("img.enlargeable")) return
  const dialog = document.createElement("dialog")
  const image = target.cloneNode()
  dialog.className = "enlarged"
  dialog.setAttribute("aria-label", "Figure, enlarged")
  image.removeAttribute("class")
  image.style.width = `${fullWidth(target)}px`
  dialog.append(image)
  dialog.addEventListener("click", () => dialog.close())
  dialog.addEventListener("close", () => dialog.remove())
  dialog.addEventListener("keydown", event => event.stopPropagation()) // Sphinx takes Escape
  document.body.append(dialog)
  dialog.showModal()
})

// A formula or a table that is wider than a phone can be scrolled, by the keyboard too; only such a
// one is a stop of the Tab key.
function letScroll() {
  for (const wide of document.querySelectorAll("div.math mjx-container, div.output.text_html")) {
    if (wide.scrollWidth > wide.clientWidth + 1) wide.tabIndex = 0
    else wide.removeAttribute("tabindex")
  }
}
const sizes = new ResizeObserver(letScroll) // also when a formula has been set
addEventListener("load", () => {
  for (const part of document.querySelectorAll("div.math, div.output.text_html")) sizes.observe(part)
})
document.fonts.addEventListener("loadingdone", letScroll) // those of formulas change widths
