// When to come back after a connection has ended. Pure: chance comes in as a function.
//
// Full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): the whole delay is
// drawn, so that the clients of a gateway that died do not all come back at once.

export const FIRST_MS = 500
export const LONGEST_MS = 30_000

/** Codes after which coming back with the same right would only be refused again. */
const FINAL = new Map([
  [4401, 'token missing or expired'],
  [4403, 'forbidden'],
])
const DRAINING = 1012

/**
 * @param {number} attempt 0 for the first
 * @param {() => number} random
 */
export function backoffMs(attempt, random) {
  return random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** attempt)
}

/**
 * What a close code asks for.
 * @param {{code: number, reason: string}} close
 * @param {number} attempt
 * @param {() => number} random
 * @returns {{comesBack: true, delayMs: number} | {comesBack: false, why: string}}
 */
export function afterClose({ code, reason }, attempt, random) {
  if (FINAL.has(code)) return { comesBack: false, why: reason || FINAL.get(code) }
  // A gateway that drains has drawn a delay for each of its clients: nothing is to be drawn again.
  const told = code === DRAINING ? /\d+(\.\d+)?/.exec(reason) : null
  const delayMs = told ? Math.min(LONGEST_MS, Number(told[0]) * 1000) : backoffMs(attempt, random)
  return { comesBack: true, delayMs }
}
