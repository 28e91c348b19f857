// Whether the other side is there, judged by when it was last heard. Pure: the shell looks when it is told to.

/** A gateway says something every three seconds at least. After so long it is asked, */
export const QUIET_MS = 4_000
/** after so long without an answer the connection is not called one any more, */
export const SILENT_MS = 5_500
/** and then it is given up. */
export const LOST_MS = 12_000
/** A look comes so much too late only if this side stood still: a machine that slept, a page in the background. */
const AWAY_MS = 1_000

export class Silence {
  #heardMs
  /** From when its silence is counted: not while we stood still, and what came had yet to be read. */ #fromMs
  #dueMs
  #hasAsked = false
  #wasAway = false

  /** @param {number} nowMs on a clock that does not jump; it was heard just now */
  constructor(nowMs) {
    this.#heardMs = this.#fromMs = nowMs
    this.#dueMs = nowMs + QUIET_MS
  }

  get heardMs() {
    return this.#heardMs
  }

  /** @returns {boolean} it was doubted: the next look is due earlier than it was said to be */
  heard(nowMs) {
    const wasDoubted = this.#hasAsked
    this.#heardMs = this.#fromMs = nowMs
    this.#hasAsked = this.#wasAway = false
    return wasDoubted
  }

  /** Something happened after which it may be gone. */
  doubt(nowMs) {
    this.#fromMs = Math.min(this.#fromMs, nowMs - QUIET_MS)
    this.#hasAsked = false
  }

  /**
   * @returns {{asks: boolean, isSilent: boolean, isLost: boolean, dueMs: number}} asks: put a question to it now;
   *   dueMs: when to look again
   */
  look(nowMs) {
    // Once for each silence: where timers are always late, the answer to a question was not.
    if (nowMs - this.#dueMs > AWAY_MS && !this.#wasAway) {
      this.#wasAway = true
      this.#hasAsked = false
      this.#fromMs = Math.max(this.#fromMs, nowMs - QUIET_MS)
    }
    const quietMs = nowMs - this.#fromMs
    const asks = quietMs >= QUIET_MS && !this.#hasAsked
    this.#hasAsked ||= asks
    this.#dueMs = this.#fromMs + ([QUIET_MS, SILENT_MS].find(ms => quietMs < ms) ?? LOST_MS)
    return { asks, isSilent: quietMs >= SILENT_MS, isLost: quietMs >= LOST_MS, dueMs: this.#dueMs }
  }
}
