// The y range of a chart: our own rather than the library's, which one Infinity blanks; and slow to
// follow, so that a chart does not breathe with every event. Pure.

const PAD = 0.1
/** The range shrinks only when the data fill less than this part of it. */
const LOOSE = 0.6

/**
 * Least and largest finite value, null where there is none.
 * @param {Iterable<ArrayLike<number>>} columns
 * @returns {[number, number] | null}
 */
export function extent(columns) {
  let [least, largest] = [Infinity, -Infinity]
  for (const values of columns) {
    for (let row = 0; row < values.length; row++) {
      const value = values[row]
      if (value < least) least = value
      if (value > largest) largest = value
    }
  }
  return least <= largest ? [least, largest] : null
}

/**
 * The range to draw data in, given the range so far.
 * @param {[number, number] | null} range
 * @param {[number, number] | null} data
 * @returns {[number, number]}
 */
export function follow(range, data) {
  if (!data) return range ?? [0, 1]
  const tight = padded(data)
  if (!range || data[0] < range[0] || data[1] > range[1]) return tight
  return tight[1] - tight[0] < LOOSE * (range[1] - range[0]) ? tight : range
}

/** With room on both sides; from zero where the data are near it and do not cross it. */
function padded([least, largest]) {
  if (least === 0 && largest === 0) return [0, 1]
  const pad = PAD * (largest - least || Math.abs(largest))
  const isNearZero = least >= 0 && least <= largest / 2
  const isBelowZero = largest <= 0 && largest >= least / 2
  return [isNearZero ? 0 : least - pad, isBelowZero ? 0 : largest + pad]
}
