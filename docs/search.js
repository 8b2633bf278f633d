// How the search orders what it found: Sphinx's own points, and some more for the course.
var Scorer = {
  // Of an explanation, then a page about use, then names of functions; checks of exercises last.
  score: ([page, title, anchor, description, score]) => {
    const isChapter = page.startsWith("chapters/")
    const isHeading = isChapter && title.includes(" > ") // Sphinx writes "Chapter > Heading"
    const isCheck = anchor.startsWith("#segedu.exercises") || anchor.startsWith("#module-segedu.exercises")
    if (isCheck) return score - 10
    return score + (isHeading ? 10 : 0) + (isChapter ? (page.endsWith("_deeper") ? 7 : 8) : 0)
  },

  // The points that Sphinx gives if nothing else is said.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
}
