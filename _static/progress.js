// The reader's progress, kept in this browser: a quiz that can be answered, and a tick for each
// exercise. Nothing is sent. Without this script the options of a quiz unfold, as in a notebook.
(() => {
  const root = new URL(document.documentElement.dataset.content_root, location.href)
  const here = DOCUMENTATION_OPTIONS.pagename
  const KEY = `segedu-progress ${root.pathname}` // another book of this host has its own
  // Where marks stand: in the menu, and on the first page in the list or the cards of the chapters.
  const LINKS = ".bd-links a.reference.internal"
    + (here === "intro" ? ", .bd-article li > p > a:first-child, .bd-article .sd-card a" : "")
  const EXERCISE = /^(?:Exercise )?\d+\. [^]+? \((?:easy|medium|hard)\)/

  // -- what is kept --------------------------------------------------------------------------------

  // For each page {done: titles, answers: {question: letter}, total: the numbers of summary()}.
  let memory = {}
  let refused = false

  function read() {
    try {
      if (!refused) memory = JSON.parse(localStorage.getItem(KEY)) ?? {}
    } catch (error) {
      if (error instanceof SyntaxError) memory = {} // not written by this script
      else refused = true
    }
    return memory
  }

  function write(kept) {
    memory = kept
    try {
      if (Object.keys(kept).length) localStorage.setItem(KEY, JSON.stringify(kept))
      else localStorage.removeItem(KEY)
    } catch {
      refused = true
    }
  }

  function of(kept, page = here) {
    return { done: [], answers: {}, ...kept[page] }
  }

  // -- making the page -----------------------------------------------------------------------------

  function make(tag, className, ...content) {
    const element = document.createElement(tag)
    if (className) element.className = className
    element.append(...content)
    return element
  }

  function button(label, action) {
    const element = make("button", "progress-button", label)
    element.type = "button"
    element.addEventListener("click", action)
    return element
  }

  // The text of an element without what a script or the theme has put into it.
  function text(element) {
    return element.textContent.replace(/\s+/g, " ").trim()
  }

  const exercises = [] // {title, box}
  const questions = [] // {name: Q1., right: letter, options: {letter: {radio, why}}}

  function addTick(paragraph) {
    const title = text(paragraph.firstElementChild)
    const box = make("input")
    box.type = "checkbox"
    box.addEventListener("change", () => change(page => {
      page.done = page.done.filter(other => other !== title)
      if (box.checked) page.done.push(title)
    }))
    const label = make("label", "exercise-done", box, " done", make("span", "visually-hidden", `: ${title}`))
    paragraph.firstElementChild.after(label)
    exercises.push({ title, box })
  }

  function addQuestion(paragraph, folded) {
    const number = questions.length + 1
    const question = { name: text(paragraph.firstElementChild), right: "", options: {} }
    paragraph.id ||= `question-${number}`
    const group = make("div", "quiz-options")
    group.setAttribute("role", "radiogroup")
    group.setAttribute("aria-labelledby", paragraph.id)
    for (const details of folded) {
      const summary = details.querySelector("summary")
      const letter = text(summary)[0]
      const radio = make("input")
      radio.type = "radio"
      radio.name = `question-${number}-option`
      const label = make("label", "", radio, make("span", "", ...summary.childNodes))
      summary.remove()
      const why = make("div", "quiz-why", ...details.childNodes)
      const announced = make("div", "", why)
      announced.setAttribute("aria-live", "polite")
      if (text(why).startsWith("Right.")) question.right = letter
      question.options[letter] = { radio, why }
      group.append(make("div", "quiz-option", label, announced))
      details.remove()
    }
    const missing = make("span", "quiz-missing")
    missing.setAttribute("role", "status")
    const check = button("Check", () => {
      const chosen = Object.keys(question.options).find(letter => question.options[letter].radio.checked)
      missing.textContent = chosen ? "" : "Choose an answer first."
      if (!chosen) return
      show(question, chosen)
      change(page => (page.answers[question.name] ??= chosen))
    })
    check.setAttribute("aria-describedby", paragraph.id)
    paragraph.after(group)
    group.after(make("p", "quiz-check", check, " ", missing))
    questions.push(question)
  }

  function show(question, letter) {
    const { why } = question.options[letter]
    why.classList.add("shown", letter === question.right ? "right" : "wrong")
  }

  // -- showing what is kept ------------------------------------------------------------------------

  function summary(page) {
    return {
      done: exercises.filter(({ title }) => page.done.includes(title)).length,
      exercises: exercises.length,
      right: questions.filter(({ name, right }) => page.answers[name] === right).length,
      questions: questions.length,
    }
  }

  function words({ done, exercises, right, questions }) {
    const parts = []
    if (exercises) parts.push(`${done} of ${exercises} exercise${exercises > 1 ? "s" : ""}`)
    if (questions) parts.push(`quiz ${right} of ${questions}`)
    return parts.join(", ")
  }

  // A small mark beside a link: how much of what the page asks is done.
  function mark(total) {
    const [done, all] = [total.done + total.right, total.exercises + total.questions]
    const seen = make("span", "", done === all ? "✓" : `${done}/${all}`)
    seen.setAttribute("aria-hidden", "true")
    return make("span", "progress-mark", seen, make("span", "visually-hidden", ` (${words(total)})`))
  }

  function pageOf(link) {
    const { host, pathname } = new URL(link.href, location.href)
    const inside = host === location.host && pathname.startsWith(root.pathname)
    return inside ? pathname.slice(root.pathname.length).replace(/\.html$/, "") : null
  }

  const told = make("p", "progress-told")
  const box = make("div", "progress-box", told)

  function render() {
    const kept = read()
    const page = of(kept)
    const now = words(summary(page))
    told.textContent = `Your progress in this chapter: ${now}.`
    const line = document.querySelector("p.progress-line") // the build leaves it empty
    if (line) line.textContent = `Done: ${now}`
    for (const { title, box } of exercises) box.checked = page.done.includes(title)
    for (const question of questions) {
      const letter = page.answers[question.name]
      const options = Object.values(question.options)
      const open = options.some(({ why }) => why.classList.contains("shown"))
      if (!letter && open) {
        for (const { radio, why } of options) {
          radio.checked = false
          why.className = "quiz-why"
        }
      } else if (question.options[letter] && !open) {
        question.options[letter].radio.checked = true
        show(question, letter)
      }
    }
    document.querySelectorAll(".progress-mark").forEach(old => old.remove())
    for (const link of document.querySelectorAll(LINKS)) {
      const { total } = of(kept, pageOf(link))
      if (!total || total.done + total.right === 0) continue
      const card = link.closest(".sd-card")
      if (card) (card.querySelector(".sd-card-footer p") ?? card).append(mark(total))
      else if (link.closest("li > p")) link.after(mark(total))
      else link.append(mark(total))
    }
    document.querySelector(".progress-refused")?.remove()
    if (refused && exercises.length + questions.length) {
      const sentence = "This browser does not let the page keep anything: your progress is lost when you leave it."
      told.after(make("p", "progress-refused", sentence))
    }
  }

  function change(edit) {
    const kept = read()
    const page = of(kept)
    edit(page)
    write({ ...kept, [here]: { ...page, total: summary(page) } })
    render()
  }

  function forget() {
    write({})
    render()
    told.textContent = "Your progress is forgotten, in all chapters."
  }

  document.addEventListener("DOMContentLoaded", () => {
    const article = document.querySelector(".bd-article")
    for (const title of article?.querySelectorAll("p > strong:first-child") ?? []) {
      const paragraph = title.parentElement
      if (EXERCISE.test(text(paragraph))) addTick(paragraph)
    }
    for (const first of article?.querySelectorAll(":not(details.quiz) + details.quiz") ?? []) {
      const folded = [first]
      while (folded.at(-1).nextElementSibling?.matches("details.quiz")) {
        folded.push(folded.at(-1).nextElementSibling)
      }
      addQuestion(first.previousElementSibling, folded)
    }
    if (exercises.length + questions.length) {
      told.setAttribute("role", "status")
      box.append(
        make("p", "", "Which exercises you ticked and your first answer to each question are kept in this browser, "
          + "and nowhere else: nothing is sent. A check that you pass in JupyterLab cannot be seen from this page, "
          + "so tick the exercise here yourself."),
        button("Forget my progress", forget),
      )
      ;(document.querySelector(".quiz-check:last-of-type")?.parentElement ?? article.querySelector("section")).append(box)
    }
    render()
  })
  addEventListener("storage", render) // changed in another tab
  addEventListener("pageshow", event => event.persisted && render())
})()
