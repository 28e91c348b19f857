// Light or dark: as the system says until the viewer chooses. first-paint.js has set the first.

import { remember, remembered } from './memory.js'

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
    remember('theme', chosen)
    show(chosen)
  })
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', ({ matches }) => {
    if (!remembered('theme')) show(matches ? 'dark' : 'light')
  })
  name()
}
