// When events happened, by their producer's own clock where they carry it. Pure.
//
// An event is stamped when the broker takes it: on a busy machine that is late by more or less, and a
// smooth curve gets kinks. `x` in milliseconds, as of old, says when it was measured.

const NEAR_S = 60
/** Larger steps back are not jitter: two producers with two clocks, or a clock set back. */
const STEP_BACK_S = 1
/** Clocks drift apart by less than this. */
const DRIFT = 1e-4

export class OwnClock {
  #isTrusted = true
  /** Least the broker's time was ahead of `x`: how the two clocks differ, as an event that did not wait shows. */
  #aheadS = Infinity
  #lastX = -Infinity
  #lastS = NaN

  /**
   * Seconds since the Unix epoch on the broker's clock.
   * @param {unknown} data
   * @param {number} timeS the broker's stamp
   */
  at(data, timeS) {
    const x = data !== null && typeof data === 'object' && typeof data.x === 'number' ? data.x / 1000 : NaN
    if (!this.#isTrusted || !(Math.abs(x - timeS) <= NEAR_S)) return timeS
    this.#isTrusted = x >= this.#lastX - STEP_BACK_S
    if (!this.#isTrusted) return timeS
    const drifted = Number.isNaN(this.#lastS) ? 0 : Math.max(0, timeS - this.#lastS) * DRIFT
    this.#aheadS = Math.min(timeS - x, this.#aheadS + drifted)
    this.#lastX = x
    this.#lastS = timeS
    return x + this.#aheadS
  }
}
