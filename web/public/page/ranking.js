// Which topics come first, and which a search leaves. Pure.

import { matcher } from '../penstock/patterns.js'

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
 * What is typed into the search box: a part of a name, or a pattern if it holds a `*`.
 * @param {string} text
 * @returns {(topic: string) => boolean}
 */
export function search(text) {
  const wanted = text.trim().toLowerCase()
  if (wanted.includes('*')) {
    const matches = matcher(wanted)
    return topic => matches(topic.toLowerCase())
  }
  return topic => topic.toLowerCase().includes(wanted)
}
