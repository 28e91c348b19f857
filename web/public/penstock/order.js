// Is this event the next one of its topic? No socket, no DOM, no timer.

export const Outcome = Object.freeze({ NEXT: 'next', DUPLICATE: 'duplicate', HOLE: 'hole' })

/**
 * @param {number | null} last seq last seen on the topic, or the seq it is followed from; null while
 *   neither is known, as in the first events that `history` brings
 * @param {{seq: number, prev?: number}} event without `prev` where the server skips on purpose
 */
export function classify(last, { seq, prev }) {
  if (last === null) return Outcome.NEXT
  if (seq <= last) return Outcome.DUPLICATE
  return prev === undefined || prev <= last ? Outcome.NEXT : Outcome.HOLE
}
