// Which stretch of time is shown, and whether it stands still. Pure.

export class View {
  #pausedAtS = null
  #missed = 0

  /** @param {number} windowS */
  constructor(windowS) {
    this.windowS = windowS
  }

  get isPaused() {
    return this.#pausedAtS !== null
  }

  /** Events that came while it stood still. */
  get missed() {
    return this.#missed
  }

  /** @param {number} nowS */
  toggle(nowS) {
    this.#pausedAtS = this.isPaused ? null : nowS
    this.#missed = 0
  }

  /** @param {number} events that have come */
  count(events) {
    if (this.isPaused) this.#missed += events
  }

  /** @param {number} nowS */
  stretch(nowS) {
    const toS = this.#pausedAtS ?? nowS
    return { fromS: toS - this.windowS, toS, isFrozen: this.isPaused }
  }
}
