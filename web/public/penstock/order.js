// Is this event the next one of its topic? No socket, no DOM, no timer.

export const Outcome = Object.freeze({ NEXT: 'next', DUPLICATE: 'duplicate', HOLE: 'hole' })

/**
 * @param {number | null} last seq last seen on the topic, or the seq it is followed from; null while
 *   neither is known, as in the first events that `history` brings
 * @param {{seq: number, prev?: number, nth?: number}} event without `prev` where the server skips on purpose
 */
export function classify(last, { seq, prev, nth }) {
  if (last === null) return Outcome.NEXT
  if (seq <= last) return Outcome.DUPLICATE
  // The prev of a topic's first event is no event of its own, but the largest seq that was forgotten
  // with other topics: whoever lacks any of those is told so by the server.
  return prev === undefined || nth === 1 || prev <= last ? Outcome.NEXT : Outcome.HOLE
}
