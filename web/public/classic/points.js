// The points of the one curve. Pure.

import { numbersIn } from '../page/fields.js'

export const MOST_POINTS = 100
const DAY_MS = 86_400_000

/**
 * The point that an event is, as [milliseconds since the Unix epoch, value]; null for none.
 * @param {{time: number, data?: unknown}} event
 * @param {string | null} field  null: `y` if there is one, else the first number
 * @returns {[number, number] | null}
 */
export function pointOf({ time, data }, field) {
  const numbers = new Map(numbersIn(data))
  const name = field ?? (numbers.has('y') ? 'y' : numbers.keys().next().value)
  return numbers.has(name) ? [takenAtMs(time * 1000, data), numbers.get(name)] : null
}

/** A producer's own `x` is better than when the broker had it, if it is a time of about then. */
function takenAtMs(heardMs, data) {
  const x = data?.x
  return typeof x === 'number' && Math.abs(x - heardMs) < DAY_MS ? x : heardMs
}

/** The newest points; a hole between two of them is a null, which no line crosses. */
export class Points {
  /** @type {([number, number] | null)[]} */ #points = []

  add(point) {
    this.#points.push(point)
    if (this.#points.length > MOST_POINTS) this.#points.splice(0, this.#points.length - MOST_POINTS)
  }

  /** What comes next does not join on. */
  tear() {
    if (this.#points.length && this.#points.at(-1) !== null) this.add(null)
  }

  clear() {
    this.#points = []
  }

  /** @returns {readonly ([number, number] | null)[]} oldest first */
  get all() {
    return this.#points
  }

  /** 0 to 5, and more where the values ask for it. @returns {[lowest: number, highest: number]} */
  get range() {
    const values = this.#points.filter(Boolean).map(([, y]) => y)
    return [Math.min(0, ...values), Math.max(5, ...values)]
  }
}
