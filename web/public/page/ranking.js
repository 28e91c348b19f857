// Which topics come first, and which a search leaves. Pure.

const ACTIVE_S = 60

/**
 * Topics in the order of the board: those with an event in the last minute, then the busier, then by
 * name. Rates count in doublings, so that neighbours do not change places at random from load to load.
 * @param {Iterable<import('./topic.js').Topic>} topics
 * @param {number} nowS
 */
export function ranked(topics, nowS) {
  return [...topics]
    .map(topic => ({ topic, isActive: nowS - topic.lastS <= ACTIVE_S, doublings: Math.round(Math.log2(topic.rate.at(nowS) + 1)) }))
    .sort((a, b) => b.isActive - a.isActive || b.doublings - a.doublings || (a.topic.name < b.topic.name ? -1 : 1))
    .map(({ topic }) => topic)
}

/**
 * What is typed into the search box: a part of a name, or a pattern if it holds a `*`. It stands for a
 * segment as in every pattern; here for a part of one as well, since `b*` says what is meant.
 * @param {string} text
 * @returns {(topic: string) => boolean}
 */
export function search(text) {
  const wanted = text.trim().toLowerCase()
  if (!wanted.includes('*')) return topic => topic.toLowerCase().includes(wanted)
  const segments = wanted.split('/')
  const isOpen = segments.at(-1) === '**'
  if (isOpen) segments.pop()
  return topic => {
    const found = topic.toLowerCase().split('/')
    if (isOpen ? found.length <= segments.length : found.length !== segments.length) return false
    if (topic.startsWith('$') && !wanted.startsWith('$')) return false
    return segments.every((segment, place) => fits(segment, found[place]))
  }
}

/** Whether a text has these parts in their order, the first at its start, the last at its end. */
function fits(segment, text) {
  const [first, ...others] = segment.split('*')
  if (!others.length) return text === first
  const last = others.pop()
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) return false
  let from = first.length
  return others.every(part => {
    const at = text.indexOf(part, from)
    from = at + part.length
    return at >= 0 && from <= text.length - last.length
  })
}
