// The recent numbers of one topic: rows of one time and some fields, in preallocated columns. Pure.
//
// Columns are typed arrays of twice what is kept: rows are written at the tail, and only when the tail
// reaches the end is the kept part copied to the front. A view for drawing is a `subarray`, no copy.

import { MOST_FIELDS } from './fields.js'

const FIRST_ROWS = 256
export const MOST_ROWS = 16_384
/** Longer than the widest window of the page. */
export const KEEP_S = 320

/** @typedef {{name: string, values: Float64Array}} Field */

export class Series {
  /** @type {Field[]} in order of appearance */ fields = []
  #times
  #breaks
  #head = 0
  #tail = 0
  #mostRows

  /** @param {number} [mostRows] */
  constructor(mostRows = MOST_ROWS) {
    this.#mostRows = mostRows
    const size = Math.min(FIRST_ROWS, 2 * mostRows)
    this.#times = new Float64Array(size)
    this.#breaks = new Uint8Array(size)
  }

  get length() {
    return this.#tail - this.#head
  }

  /** The newest time in seconds, NaN while empty. */
  get newestS() {
    return this.length ? this.#times[this.#tail - 1] : NaN
  }

  /**
   * @param {number} timeS  seconds since the Unix epoch
   * @param {[string, number][]} numbers  fields not named keep no value in this row
   * @param {boolean} isBroken  events between this row and the one before are missing
   */
  push(timeS, numbers, isBroken) {
    // A clock set back far leaves nothing to draw after; a small step back is flattened, since charts
    // need times in order.
    if (timeS < this.newestS - 1) this.#head = this.#tail
    if (this.#tail === this.#times.length) this.#makeRoom()
    const row = this.#tail++
    this.#times[row] = this.length > 1 ? Math.max(timeS, this.#times[row - 1]) : timeS
    this.#breaks[row] = isBroken ? 1 : 0
    for (const { values } of this.fields) values[row] = NaN
    for (const [name, value] of numbers) this.#column(name)?.fill(value, row, row + 1)
  }

  /**
   * The rows to draw for a window: those in it and one on each side, so that lines reach the edges.
   * @param {number} fromS
   * @param {number} toS
   * @returns {{times: Float64Array, values: Float64Array[], breaks: Uint8Array}}
   */
  window(fromS, toS) {
    const from = Math.max(this.#head, this.#firstAfter(fromS) - 1)
    const to = Math.min(this.#tail, this.#firstAfter(toS) + 1)
    return {
      times: this.#times.subarray(from, to),
      values: this.fields.map(({ values }) => values.subarray(from, to)),
      breaks: this.#breaks.subarray(from, to),
    }
  }

  /** The last value of each field up to a time, NaN where there is none. @param {number} toS */
  levels(toS) {
    const last = this.#firstAfter(toS) - 1
    return this.fields.map(({ values }) => {
      let row = last
      while (row > this.#head && Number.isNaN(values[row])) row--
      return row < this.#head ? NaN : values[row]
    })
  }

  /** Index of the first row later than a time. */
  #firstAfter(timeS) {
    let [low, high] = [this.#head, this.#tail]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#times[middle] <= timeS) low = middle + 1
      else high = middle
    }
    return low
  }

  #column(name) {
    const known = this.fields.find(field => field.name === name)
    if (known) return known.values
    if (this.fields.length === MOST_FIELDS) return undefined
    const values = new Float64Array(this.#times.length).fill(NaN)
    this.fields.push({ name, values })
    return values
  }

  #makeRoom() {
    this.#head = Math.max(this.#firstAfter(this.newestS - KEEP_S), this.#tail - this.#mostRows)
    const kept = this.#tail - this.#head
    const size = this.#times.length
    const wanted = kept > size / 2 ? Math.min(2 * size, 2 * this.#mostRows) : size
    const move = column => {
      const target = wanted === size ? column : new column.constructor(wanted)
      target.set(column.subarray(this.#head, this.#tail))
      return target
    }
    this.#times = move(this.#times)
    this.#breaks = move(this.#breaks)
    for (const field of this.fields) field.values = move(field.values)
    this.#head = 0
    this.#tail = kept
  }
}
