// The server's clock, as well as this side can tell. Pure.

const SAMPLES = 8

export class ServerClock {
  /** @type {{rttMs: number, offsetMs: number}[]} */ #samples = []
  #offsetMs

  /** @param {number} guessMs server's clock minus ours, until the first answer */
  constructor(guessMs) {
    this.#offsetMs = guessMs
  }

  /**
   * The answer to a ping.
   * @param {{rttMs: number, serverMs: number}} answer
   * @param {number} nowMs our clock as it came in
   */
  add({ rttMs, serverMs }, nowMs) {
    this.#samples.push({ rttMs, offsetMs: serverMs + rttMs / 2 - nowMs })
    if (this.#samples.length > SAMPLES) this.#samples.shift()
    // The quickest answer bounds the error best: it cannot be more than half its round trip.
    this.#offsetMs = this.#samples.reduce((best, sample) => (sample.rttMs < best.rttMs ? sample : best)).offsetMs
  }

  /** Seconds since the Unix epoch. @param {number} nowMs our clock */
  nowS(nowMs) {
    return (nowMs + this.#offsetMs) / 1000
  }
}
