// What fields are measured in, as far as their names tell, and in which size of it they are shown. Pure.

const SUFFIXES = new Map(Object.entries({
  kib_s: 'KiB/s', mib_s: 'MiB/s', bytes_s: 'B/s', kib: 'KiB', mib: 'MiB', gib: 'GiB', bytes: 'B',
  percent: '%', pct: '%', hz: 'Hz', us: 'µs', ms: 'ms', s: 's', celsius: '°C',
}))
/** Of this machine's metrics, which are percentages though their names do not say so. */
const PERCENTAGES = [[/^system\/[^/]+\/cpu$/, /^core\d+$/], [/^system\/[^/]+\/memory$/, /^used$/]]

const BYTES = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
const KIB = 1024
/** Up to here four digits are read at a glance. */
const MOST_SHOWN = 10_000
/** The chart library makes no marks for numbers of more digits. */
const EXTREME = 1e15

/**
 * The unit that a name ends with, and the name without it: `read_kib_s` is `read` in `KiB/s`.
 * @param {string} name of the field
 * @param {string} [topic]
 * @returns {{label: string, unit: string}}
 */
export function labelled(name, topic = '') {
  for (const [suffix, unit] of SUFFIXES) {
    if (name.endsWith(`_${suffix}`)) return { label: name.slice(0, -suffix.length - 1).replaceAll('_', ' '), unit }
  }
  const isPercentage = PERCENTAGES.some(([ofTopic, ofField]) => ofTopic.test(topic) && ofField.test(name))
  return { label: name.replaceAll('_', ' '), unit: isPercentage ? '%' : '' }
}

/**
 * How numbers of a range are shown: divided, in a larger unit, or with a power of ten after each mark.
 * @typedef {{divisor: number, unit: string, power: string}} Measure
 * @param {string} unit
 * @param {[number, number]} range
 * @returns {Measure}
 */
export function measured(unit, range) {
  const size = Math.max(...range.map(Math.abs))
  if (size >= EXTREME) {
    const exponent = Math.floor(Math.log10(size))
    return { divisor: 10 ** exponent, unit, power: `e${exponent}` }
  }
  const [amount, perSecond] = unit.split('/')
  let divisor = 1
  let place = BYTES.indexOf(amount)
  while (place >= 0 && place < BYTES.length - 1 && size / divisor > MOST_SHOWN) {
    divisor *= KIB
    place += 1
  }
  if (divisor === 1) return { divisor, unit, power: '' }
  return { divisor, unit: perSecond ? `${BYTES[place]}/${perSecond}` : BYTES[place], power: '' }
}
