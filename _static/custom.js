// A page from file:// may not read the others, from which the search takes its summaries.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false

// Entries of the bibliography get a role that readers of its list do not know as an item.
document.addEventListener("DOMContentLoaded", () => {
  for (const entry of document.querySelectorAll(".citation-list > .citation")) {
    entry.setAttribute("role", "listitem")
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
