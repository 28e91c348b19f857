// Positions: `epoch.seq`, where an event stands and in which log. No socket, no DOM, no timer.

/** Of a gateway that has not heard a broker yet. */
export const NO_EPOCH = '0000000000000000'

const FORM = /^([0-9a-f]{16})\.(0|[1-9][0-9]{0,18})$/

/**
 * @typedef {object} Position
 * @property {string} epoch  16 hex digits, identity of a log; text, since JavaScript's integers stop at 2**53
 * @property {number} seq    place in that log, 0 for "before everything"
 */

/**
 * The position that a text stands for, null for any other text. A seq beyond 2**53 is refused: doubles
 * could no longer tell it from its neighbour, and a false "seen already" would be a silent loss.
 * @param {unknown} text
 * @returns {Position | null}
 */
export function maybePosition(text) {
  const found = typeof text === 'string' ? FORM.exec(text) : null
  if (!found) return null
  const seq = Number(found[2])
  return Number.isSafeInteger(seq) ? { epoch: found[1], seq } : null
}

/** @param {Position} position */
export function formatPosition({ epoch, seq }) {
  return `${epoch}.${seq}`
}

/**
 * The later of two positions of one log. Logs have no order between them: of two epochs the newer
 * news, `b`, wins.
 * @param {Position | null} a
 * @param {Position | null} b
 * @returns {Position | null}
 */
export function later(a, b) {
  if (!a || !b) return b ?? a
  return a.epoch === b.epoch && a.seq > b.seq ? a : b
}
