// How much the page asks for. Pure.
//
// Everything, as long as that comes in time: charts show the spike between two samples, texts are whole,
// and after a break the past is filled in. Where it is more than the connection or this machine can take,
// what is shown must be of now rather than whole: then a few values a second of each topic, and everything
// again after a while. Who still cannot take it is tried less and less often.

/** @typedef {import('../penstock/delivery.js').Delivery} Delivery */

/** More than the eye needs to see a number change, half of what charts are drawn at. */
export const SPARED = Object.freeze({ hz: 10 })
/** One backlog, of a tab that was frozen, say, is gone sooner than the answer to a request comes. */
const PATIENCE_MS = 2_000
const CALM_MS = 30_000
const MOST_CALM_MS = 960_000
/** Behind again so soon after everything was asked for: it was too early. */
const RELAPSE_MS = 60_000
/** Nothing was left out for so long: there is no difference any more. */
const WHOLE_MS = 10_000

export class Pace {
  /** @type {Delivery} */ #delivery = 'all'
  #changedMs = -Infinity
  #calmMs = CALM_MS
  /** Since when it has been behind, without a pause. */
  #behindMs = Infinity
  #lastBehindMs = -Infinity
  #lastSparedMs = -Infinity

  get delivery() {
    return this.#delivery
  }

  get isSpared() {
    return this.#delivery !== 'all'
  }

  /** Events were left out. @param {number} nowMs */
  spared(nowMs) {
    this.#lastSparedMs = nowMs
  }

  /**
   * Look again.
   * @param {boolean} isBehind
   * @param {number} nowMs
   * @returns {boolean} whether another delivery is to be asked for
   */
  turn(isBehind, nowMs) {
    this.#behindMs = isBehind ? Math.min(this.#behindMs, nowMs) : Infinity
    if (isBehind) this.#lastBehindMs = nowMs
    if (!this.isSpared) {
      if (nowMs - this.#behindMs < PATIENCE_MS) return false
      this.#calmMs = nowMs - this.#changedMs < RELAPSE_MS ? Math.min(2 * this.#calmMs, MOST_CALM_MS) : CALM_MS
      return this.#change(SPARED, nowMs)
    }
    const calmMs = nowMs - Math.max(this.#changedMs, this.#lastBehindMs)
    const isWhole = calmMs >= WHOLE_MS && nowMs - this.#lastSparedMs >= WHOLE_MS
    return (isWhole || calmMs >= this.#calmMs) && this.#change('all', nowMs)
  }

  #change(delivery, nowMs) {
    this.#delivery = delivery
    this.#changedMs = nowMs
    this.#behindMs = Infinity
    return true
  }
}
