// The server's clock, as well as this side can tell. Pure.

/** Clocks drift apart by less than this. */
const DRIFT = 1e-4
/** Both sides round. */
const ROUNDING_MS = 1

export class ServerClock {
  /** @type {{rttMs: number, offsetMs: number, atMs: number} | null} */ #best = null
  #guessMs

  /** @param {number} guessMs server's clock minus ours, until the first answer */
  constructor(guessMs) {
    this.#guessMs = guessMs
  }

  /** By how much it can be wrong; Infinity until the server was heard, for a guess can be hours off. @param {number} nowMs */
  errorS(nowMs) {
    return this.#best ? errorMs(this.#best, nowMs) / 1000 : Infinity
  }

  /**
   * The answer to a ping.
   * @param {{rttMs: number, serverMs: number}} answer
   * @param {number} nowMs our clock as it came in
   */
  add({ rttMs, serverMs }, nowMs) {
    const sample = { rttMs, offsetMs: serverMs + rttMs / 2 - nowMs, atMs: nowMs }
    // The best is believed however old it is: once a connection is slow, no new answer is a good one. But
    // none can be wrong by more than its error: where two contradict each other, a clock was set.
    if (!this.#best || errorMs(sample, nowMs) <= errorMs(this.#best, nowMs) || contradict(sample, this.#best, nowMs)) this.#best = sample
  }

  /** Seconds since the Unix epoch. @param {number} nowMs our clock */
  nowS(nowMs) {
    return (nowMs + (this.#best?.offsetMs ?? this.#guessMs)) / 1000
  }
}

/** By how much the offset of an answer can be wrong now. */
function errorMs({ rttMs, atMs }, nowMs) {
  return rttMs / 2 + (nowMs - atMs) * DRIFT + ROUNDING_MS
}

function contradict(a, b, nowMs) {
  return Math.abs(a.offsetMs - b.offsetMs) > errorMs(a, nowMs) + errorMs(b, nowMs)
}
