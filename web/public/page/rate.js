// Events a second over the last few seconds, from the events' own times. Pure.

const SECONDS = 5

export class Rate {
  #counts = new Uint32Array(SECONDS + 1)
  #newestS = -Infinity

  /** @param {number} timeS @param {number} [count] events of that time */
  add(timeS, count = 1) {
    const second = Math.floor(timeS)
    this.#turnTo(second)
    if (second > this.#newestS - this.#counts.length) this.#counts[second % this.#counts.length] += count
  }

  /** @param {number} nowS */
  at(nowS) {
    const now = Math.floor(nowS)
    let sum = 0
    // The current second is not whole yet: it would always read low.
    for (let second = now - SECONDS; second < now; second++) {
      if (second <= this.#newestS && second > this.#newestS - this.#counts.length) sum += this.#counts[second % this.#counts.length]
    }
    return sum / SECONDS
  }

  #turnTo(second) {
    if (second <= this.#newestS) return
    const steps = Math.min(second - this.#newestS, this.#counts.length)
    for (let step = 0; step < steps; step++) this.#counts[(second - step) % this.#counts.length] = 0
    this.#newestS = second
  }
}
