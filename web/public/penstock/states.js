// How a feed stands, as values, and the words for it.

export const State = Object.freeze({
  CONNECTING: 'connecting',
  CONNECTED: 'connected',
  WAITING: 'waiting',
  ERROR: 'error',
  CLOSED: 'closed',
})

/**
 * @typedef {object} FeedState
 * @property {string} name       one of State
 * @property {string} [transport] when connected
 * @property {boolean} [stale]   when connected: the gateway does not hear the broker
 * @property {boolean} [slow]    when connected: it has more for us than we take
 * @property {number | null} [silentSinceMs] when connected: nothing came since that moment on the feed's own clock,
 *   though it was asked for; null while it answers
 * @property {number} [dueMs]    when waiting: moment of the next try, on the feed's own clock
 * @property {number} [attempt]  when waiting: 1 for the first
 * @property {string} [why]      on an error
 */

/** Connected, and nothing comes though it was asked for. @param {FeedState} state */
export function isSilent({ silentSinceMs }) {
  return typeof silentSinceMs === 'number'
}

/**
 * @param {FeedState} state
 * @param {number} nowMs on the feed's own clock
 */
export function describe(state, nowMs) {
  switch (state.name) {
    case State.CONNECTING: return 'Connecting...'
    case State.CONNECTED:
      if (isSilent(state)) return `No answer for ${Math.floor((nowMs - state.silentSinceMs) / 1000)} s`
      return `Connected: ${state.transport}${reserve(state)}`
    case State.WAITING: return `Reconnecting in ${Math.max(0, Math.ceil((state.dueMs - nowMs) / 1000))} s`
    case State.ERROR: return `Error: ${state.why}`
    default: return 'Closed'
  }
}

function reserve({ stale, slow }) {
  if (stale) return ' (broker silent)'
  return slow ? ' (behind)' : ''
}
