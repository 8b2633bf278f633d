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
