// The state of the feed, as text, shape and colour.

import { State } from '../penstock.js'
import { isSilent } from '../penstock/states.js'

const SHAPES = {
  [State.CONNECTING]: 'ring', [State.CONNECTED]: 'disc', [State.WAITING]: 'ring', [State.ERROR]: 'cross', [State.CLOSED]: 'square',
}

/** Each change of the text is read out by a screen reader. */
const REWRITE_MS = 1_000

/**
 * @param {HTMLElement} pill
 * @param {HTMLButtonElement} retry
 * @param {import('../penstock.js').Penstock} feed
 * @param {() => string | null} lag  what there is to say of a connection that stands and yet is not as it should be
 */
export function showState(pill, retry, feed, lag) {
  const text = pill.querySelector('[data-part="text"]')
  const write = () => {
    const { name, stale, slow } = feed.state
    const silent = isSilent(feed.state)
    const lagging = name === State.CONNECTED && !stale && !silent ? lag() : null
    pill.dataset.state = silent ? 'silent' : stale ? 'stale' : lagging || slow ? 'lagging' : name
    pill.dataset.shape = silent || stale || lagging || slow ? 'triangle' : SHAPES[name]
    retry.hidden = name !== State.WAITING
    const words = lagging ?? feed.stateText
    // A text that stays the same must not be announced again.
    if (text.textContent !== words) text.textContent = words
  }
  feed.onState(write)
  setInterval(write, REWRITE_MS)
  retry.addEventListener('click', () => feed.retryNow())
}
