// How old events are when they come, and what to say of it. Pure.

/** Of so many of the newest events the age is known. */
const KEPT = 1_024
const WINDOW_MS = 2_000
const BEHIND_S = 2
/** Once behind, it is so until the age is clearly less: a text that flickers says nothing. */
const CAUGHT_UP_S = 1

export class Lag {
  #ages = new Float64Array(KEPT)
  #takenMs = new Float64Array(KEPT).fill(-Infinity)
  #next = 0
  #isBehind = false

  /**
   * @param {number} ageS of an event that came live
   * @param {number} nowMs our clock
   */
  add(ageS, nowMs) {
    const place = this.#next++ % KEPT
    // Two clocks never agree to the millisecond, and nothing comes before it was sent.
    this.#ages[place] = Math.max(0, ageS)
    this.#takenMs[place] = nowMs
  }

  /**
   * The age that so much of the events of the last seconds do not exceed, NaN if there were none.
   * @param {number} part 0.5 for the median
   * @param {number} nowMs
   * @param {number} [windowMs]
   */
  ageS(part, nowMs, windowMs = WINDOW_MS) {
    const ages = this.#ages.filter((_, place) => nowMs - this.#takenMs[place] <= windowMs).sort()
    return ages.length ? ages[Math.ceil(part * ages.length) - 1] : NaN
  }

  /**
   * @param {number} nowMs
   * @param {number} doubtS by how much the ages can be wrong
   */
  isBehind(nowMs, doubtS) {
    this.#isBehind = this.ageS(0.5, nowMs) - doubtS > (this.#isBehind ? CAUGHT_UP_S : BEHIND_S)
    return this.#isBehind
  }
}

/**
 * What there is to say of a connection that stands; null if nothing.
 * @param {object} found
 * @param {number | null} found.behindS  age of what comes, null if that is as it should be
 * @param {boolean} found.isSpared       not every event is asked for
 * @param {string} connected             the words for the connection itself
 */
export function lagInWords({ behindS, isSpared }, connected) {
  if (behindS !== null) return `Behind by ${behindS.toFixed(1)} s - ${isSpared ? 'skipping' : 'catching up'}`
  return isSpared ? `${connected} - skipping` : null
}
