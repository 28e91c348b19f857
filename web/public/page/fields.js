// The numbers in a payload, by name, and the units that names tell. Pure.

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

const UNITS = new Map(Object.entries({
  kib_s: 'KiB/s', mib_s: 'MiB/s', bytes_s: 'B/s', kib: 'KiB', mib: 'MiB', gib: 'GiB', bytes: 'B',
  percent: '%', pct: '%', hz: 'Hz', us: 'µs', ms: 'ms', s: 's', celsius: '°C',
}))

/**
 * The unit that a name ends with, and the name without it: `read_kib_s` is `read` in `KiB/s`.
 * @param {string} name
 * @returns {{label: string, unit: string}}
 */
export function labelled(name) {
  for (const [suffix, unit] of UNITS) {
    if (name.endsWith(`_${suffix}`)) return { label: name.slice(0, -suffix.length - 1).replaceAll('_', ' '), unit }
  }
  return { label: name.replaceAll('_', ' '), unit: '' }
}
