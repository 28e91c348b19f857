// What the viewer chose, kept by the browser where it may be. first-paint.js reads the theme by itself.

const PREFIX = 'penstock-'

/** @param {string} name @returns {string | null} null for nothing chosen */
export function remembered(name) {
  try {
    return localStorage.getItem(PREFIX + name)
  } catch {
    return null
  }
}

/** @param {string} name @param {string} choice */
export function remember(name, choice) {
  try {
    localStorage.setItem(PREFIX + name, choice)
  } catch {
    // Not remembered, then: storage may be forbidden.
  }
}
