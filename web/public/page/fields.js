// The numbers in a payload, by name. Pure.

export const MOST_FIELDS = 20
const MOST_DEPTH = 8
/** JSON has no NaN, but 1e999 reads as Infinity, and differences of numbers near 1e308 are: one blanks a chart. */
const MOST_DRAWABLE = 1e300

/**
 * The numbers in a JSON value, nested ones as `a.b`; a number alone is called `value`. A field
 * `x` beside others is the producer's own time axis: the chart has one already.
 * @param {unknown} data
 * @returns {[name: string, value: number][]}
 */
export function numbersIn(data) {
  /** @type {[string, number][]} */ const found = []
  collect(data, '', 0, found)
  return found.length > 1 ? found.filter(([name]) => name !== 'x') : found
}

function collect(value, name, depth, found) {
  if (typeof value === 'number') {
    if (Math.abs(value) <= MOST_DRAWABLE) found.push([name || 'value', value])
  } else if (value !== null && typeof value === 'object' && depth < MOST_DEPTH) {
    for (const [key, inner] of Object.entries(value)) collect(inner, name ? `${name}.${key}` : key, depth + 1, found)
  }
}
