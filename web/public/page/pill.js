// The state of the feed, as text, shape and colour.

import { State } from '../penstock.js'

const SHAPES = {
  [State.CONNECTING]: 'ring', [State.CONNECTED]: 'disc', [State.WAITING]: 'ring', [State.ERROR]: 'cross', [State.CLOSED]: 'square',
}

/**
 * @param {HTMLElement} pill
 * @param {HTMLButtonElement} retry
 * @param {import('../penstock.js').Penstock} feed
 */
export function showState(pill, retry, feed) {
  const text = pill.querySelector('[data-part="text"]')
  let timer
  const write = () => {
    // A text that stays the same must not be announced again.
    if (text.textContent !== feed.stateText) text.textContent = feed.stateText
  }
  feed.onState(state => {
    pill.dataset.state = state.stale ? 'stale' : state.name
    pill.dataset.shape = state.stale ? 'triangle' : SHAPES[state.name]
    retry.hidden = state.name !== State.WAITING
    clearInterval(timer)
    if (state.name === State.WAITING) timer = setInterval(write, 1000)
    write()
  })
  retry.addEventListener('click', () => feed.retryNow())
}
