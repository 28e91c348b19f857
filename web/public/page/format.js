// Numbers and times in few characters. Pure.

/** From which size on, what it is divided by, and the mark: four digits are shown in full. */
const SIZES = [[1e12, 1e12, 'T'], [1e9, 1e9, 'G'], [1e6, 1e6, 'M'], [1e4, 1e3, 'k'], [0, 1, '']]

/** A number in about four digits. @param {number | undefined} value */
export function compact(value) {
  if (value === undefined || Number.isNaN(value)) return '–'
  if (isExtreme(value)) return exponential(value)
  const [divisor, mark] = scale(Math.abs(value))
  const scaled = value / divisor
  if (Number.isInteger(value) && divisor === 1) return String(value)
  return scaled.toFixed(Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2) + mark
}

/** Marks of an axis, all with the same decimals, as many as tell neighbours apart. @param {number[]} splits */
export function axisMarks(splits) {
  const step = splits.length > 1 ? Math.abs(splits[1] - splits[0]) : 1
  const largest = Math.max(...splits.map(Math.abs))
  if (isExtreme(largest)) return splits.map(value => (value === 0 ? '0' : exponential(value)))
  const [divisor, mark] = scale(largest)
  // 2.5 needs one decimal though it is more than one: look at the step's own digits, not at its size.
  const decimals = [0, 1, 2, 3, 4, 5].find(digits => isWhole((step / divisor) * 10 ** digits)) ?? 6
  // Many decimals of a million are harder to read than its digits.
  if (divisor > 1 && decimals > 3) return splits.map(value => value.toFixed(0))
  return splits.map(value => (value === 0 ? '0' : (value / divisor).toFixed(decimals) + mark))
}

/** @param {number} rate events a second */
export function perSecond(rate) {
  return rate > 0 ? `${rate >= 10 ? compact(Math.round(rate)) : rate.toFixed(1)}/s` : ''
}

/** How long something took. @param {number} s NaN where nobody knows */
export function latency(s) {
  if (Number.isNaN(s)) return '–'
  return s < 1 ? `${Math.round(s * 1000)} ms` : `${s.toFixed(1)} s`
}

/** @param {number} s */
export function ago(s) {
  if (s < 90) return `${Math.round(s)} s ago`
  if (s < 5400) return `${Math.round(s / 60)} m ago`
  if (s < 172_800) return `${Math.round(s / 3600)} h ago`
  return `${Math.round(s / 86_400)} d ago`
}

/** Seconds since the Unix epoch as the viewer's time of day. @param {number} timeS */
export function clockTime(timeS) {
  return new Date(timeS * 1000).toLocaleTimeString('en-GB')
}

/** @param {number} count @param {string} noun */
export function counted(count, noun) {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`
}

function scale(size) {
  const [, divisor, mark] = SIZES.find(([from]) => size >= from)
  return [divisor, mark]
}

/** 3e19 rather than 3.0e+19: marks of an axis have little room. */
function exponential(value) {
  return value.toExponential(1).replace('.0e', 'e').replace('e+', 'e')
}

function isExtreme(value) {
  const size = Math.abs(value)
  return size >= 1e15 || (size > 0 && size < 1e-3)
}

function isWhole(value) {
  return Math.abs(value - Math.round(value)) < 1e-6
}
