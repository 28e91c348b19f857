// Patterns choose topics: `*` stands for one segment, a last `**` for one or more; a wildcard in first
// place matches no topic of the system's own (`$...`). The server checks names; this only compares.

/**
 * @param {string} pattern
 * @returns {(topic: string) => boolean}
 */
export function matcher(pattern) {
  if (!pattern.includes('*')) return topic => topic === pattern
  const wanted = pattern.split('/')
  const isOpen = wanted.at(-1) === '**'
  if (isOpen) wanted.pop()
  return topic => {
    const segments = topic.split('/')
    if (isOpen ? segments.length <= wanted.length : segments.length !== wanted.length) return false
    if (topic.startsWith('$') && !pattern.startsWith('$')) return false
    return wanted.every((want, place) => want === '*' || want === segments[place])
  }
}

/**
 * May one topic match both? A gap is told for the topics it tore, whatever was subscribed to.
 * @param {string} a
 * @param {string} b
 */
export function overlap(a, b) {
  if (a.startsWith('$') !== b.startsWith('$')) return false
  const [left, right] = [a.split('/'), b.split('/')]
  for (let place = 0; ; place++) {
    const [x, y] = [left[place], right[place]]
    if (x === undefined || y === undefined) return x === y
    if (x === '**' || y === '**') return true
    if (x !== y && x !== '*' && y !== '*') return false
  }
}
