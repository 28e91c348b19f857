// Light or dark: as the system says until the viewer chooses. first-paint.js has set the first.

const KEY = 'penstock-theme'
const root = document.documentElement

/**
 * @param {HTMLButtonElement} button
 * @param {() => void} onChange the colours are others now
 */
export function followTheme(button, onChange) {
  const name = () => {
    const other = root.dataset.theme === 'dark' ? 'light' : 'dark'
    button.title = `Switch to ${other} colours`
    button.setAttribute('aria-label', button.title)
  }
  const show = theme => {
    root.dataset.theme = theme
    name()
    onChange()
  }
  button.addEventListener('click', () => {
    const chosen = root.dataset.theme === 'dark' ? 'light' : 'dark'
    remember(chosen)
    show(chosen)
  })
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', ({ matches }) => {
    if (!remembered()) show(matches ? 'dark' : 'light')
  })
  name()
}

function remember(theme) {
  try {
    localStorage.setItem(KEY, theme)
  } catch {
    // Not remembered, then: storage may be forbidden.
  }
}

function remembered() {
  try {
    return localStorage.getItem(KEY)
  } catch {
    return null
  }
}
