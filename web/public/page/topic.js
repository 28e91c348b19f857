// What the page knows of one topic: its numbers, its last words, its holes, its rate. Pure.

import { numbersIn } from './fields.js'
import { counted } from './format.js'
import { OwnClock } from './own_clock.js'
import { Rate } from './rate.js'
import { KEEP_S, Series } from './series.js'

const MOST_HOLES = 200
const MOST_LINES = 10
const MOST_LINE_CHARS = 2_000
/** Values that are a sample of all there were: a line through them says so much. Over more it would lie. */
const SAMPLED_S = 1

/**
 * A stretch of time of which events are not here.
 * @typedef {object} Hole
 * @property {number} fromS
 * @property {number} toS
 * @property {number | null} lost  null where nobody can tell
 * @property {boolean} isSpared    they were left out on purpose
 */

export class Topic {
  series = new Series()
  rate = new Rate()
  /** @type {Hole[]} oldest first */ holes = []
  /** @type {import('../penstock/protocol.js').Event | null} */ #last = null
  #isTorn = false
  #clock = new OwnClock()
  #lastDrawnS = NaN
  /** @type {string[]} of the last events without numbers, oldest first */ #lines = []
  #lineS = -Infinity
  #numberS = -Infinity
  /** Numeric fields in the last event, more than are drawn at times. */
  fieldCount = 0

  /** @param {string} name */
  constructor(name) {
    this.name = name
  }

  get lastS() {
    return this.#last?.time ?? NaN
  }

  get isNumeric() {
    return this.series.fields.length > 0
  }

  /**
   * The next event of this topic; one that is not later than the last changes nothing.
   * @param {import('../penstock/protocol.js').Event} event
   * @param {boolean} [isSpared] those before it that are not here were left out on purpose
   * @returns {number} how many events it stands for, itself and those
   */
  take(event, isSpared = false) {
    const last = this.#isTorn ? null : this.#last
    if (last && event.seq <= last.seq) return 0
    const timeS = this.#clock.at(event.data, event.time)
    const lost = last ? Math.max(0, event.nth - last.nth - 1) : 0
    const isSample = isSpared && timeS - this.#lastDrawnS <= SAMPLED_S
    const isBroken = this.#isTorn || (lost > 0 && !isSample)
    if (isBroken) this.#addHole({ fromS: this.#lastDrawnS, toS: timeS, lost: last ? lost : null, isSpared })
    const numbers = 'data' in event ? numbersIn(event.data) : []
    if (numbers.length) {
      this.series.push(timeS, numbers, isBroken)
      this.fieldCount = numbers.length
      this.#numberS = event.time
    } else {
      this.#lines.push(line(event))
      if (this.#lines.length > MOST_LINES) this.#lines.shift()
      this.#lineS = event.time
    }
    const count = isSample ? 1 + lost : 1
    this.rate.add(event.time, count)
    this.#last = event
    this.#lastDrawnS = timeS
    this.#isTorn = false
    return count
  }

  /** The log began anew: the topic's own count says nothing about what lies between. */
  tear() {
    this.#isTorn = this.#last !== null
  }

  /** The last events without numbers, a line each, newest last. */
  words() {
    return this.#lines.join('\n')
  }

  /** Whether what it said belongs beside its numbers: it is newer than they, or of this window. @param {number} fromS */
  saysSomething(fromS) {
    return this.#lines.length > 0 && (this.#lineS >= fromS || this.#lineS >= this.#numberS)
  }

  /** Holes that touch a window. @param {number} fromS @param {number} toS */
  holesIn(fromS, toS) {
    return this.holes.filter(hole => hole.toS >= fromS && hole.fromS <= toS)
  }

  #addHole(hole) {
    this.holes.push(hole)
    if (this.holes.length > MOST_HOLES || this.holes[0].toS < hole.toS - KEEP_S) this.holes.shift()
  }
}

/** A payload as text, cut to what a card can show. @param {import('../penstock/protocol.js').Event} event */
function line({ data, text, base64 }) {
  const shown = base64 !== undefined ? `base64: ${base64}` : text ?? (typeof data === 'string' ? data : JSON.stringify(data))
  return shown.length > MOST_LINE_CHARS ? `${shown.slice(0, MOST_LINE_CHARS)}...` : shown
}

/** What to say of holes. @param {Hole[]} holes */
export function holesInWords(holes) {
  if (!holes.length) return ''
  const known = holes.filter(({ lost }) => lost !== null)
  if (!known.length) return 'gap: the log began anew'
  const sum = isSpared => known.reduce((sum, hole) => sum + (hole.isSpared === isSpared ? hole.lost : 0), 0)
  const [lost, skipped] = [sum(false), sum(true)]
  return ['gap:', lost && `${counted(lost, 'event')} lost`, lost && skipped && 'and', skipped && `${counted(skipped, 'event')} skipped`]
    .filter(Boolean).join(' ')
}
