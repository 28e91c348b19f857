// How much of its topics a subscription wants. No socket, no DOM, no timer.

export const RATES = Object.freeze([1, 2, 5, 10, 20, 30, 60])

/**
 * Every event; the newest of each topic, as often as this side takes it; or the newest so many times a
 * second. The last event of a topic always comes.
 * @typedef {'all' | 'latest' | {hz: 1 | 2 | 5 | 10 | 20 | 30 | 60}} Delivery
 */

/**
 * A delivery as it was asked for, a copy. Throws TypeError for what is none.
 * @param {unknown} [wanted] 'all' if not given
 * @returns {Delivery}
 */
export function checkedDelivery(wanted = 'all') {
  if (wanted === 'all' || wanted === 'latest') return wanted
  const isRate = wanted !== null && typeof wanted === 'object' && Object.keys(wanted).join() === 'hz'
  if (isRate && RATES.includes(wanted.hz)) return { hz: wanted.hz }
  throw new TypeError(`delivery: want 'all', 'latest' or {hz: n} with n one of ${RATES.join(', ')}`)
}

/** Whether events are left out on purpose. @param {Delivery} delivery */
export function isConflated(delivery) {
  return delivery !== 'all'
}

/** @param {Delivery} a @param {Delivery} b */
export function isSame(a, b) {
  return fullness(a) === fullness(b)
}

/** Of several on one topic, the one that counts. @param {Delivery[]} deliveries */
export function fullest(deliveries) {
  return deliveries.reduce((best, each) => (fullness(each) > fullness(best) ? each : best))
}

function fullness(delivery) {
  return { all: 101, latest: 100 }[delivery] ?? delivery.hz
}
