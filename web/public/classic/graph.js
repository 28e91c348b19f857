// The classic page: the last hundred points of one topic, over Socket.IO.
// `?topic=` and `?field=` choose others than the sine of `penstock demo`.

import { io } from '/lib/socket.io-client-4.8.4/socket.io.esm.min.js'
import { graph } from './plot.js'
import { MOST_POINTS, pointOf, Points } from './points.js'
import { ERROR, followState } from './state.js'

const REDRAW_EVERY_MS = 50

const asked = new URLSearchParams(location.search)
const topic = asked.get('topic') || 'graph'
const field = asked.get('field')

const [state, note] = ['state', 'note'].map(id => document.getElementById(id))
const points = new Points()
const draw = graph(document.getElementById('graph'))
let isNew = true // since it was drawn

const socket = io()
let isFollowing = false
let whyError = ''

followState(socket, tell)

socket.on('connect', () => {
  // Recovered: it follows still, and what it missed has come or is coming.
  if (socket.recovered && isFollowing) return
  isFollowing = false
  clear()
  // The answer to an earlier try was lost: what of it came to be is given up first.
  if (socket.recovered) socket.emit('unsubscribe', topic, clear)
  socket.emit('subscribe', topic, { history: MOST_POINTS }, ({ error }) => {
    isFollowing = !error
    showNote()
    if (!error) return
    console.error(`${topic}: ${error.message}`)
    socket.disconnect()
    tell(ERROR, error.message)
  })
})
socket.on('event', event => {
  const point = pointOf(event, field)
  if (!point) return
  points.add(point)
  isNew = true
  showNote()
})
socket.on('gap', () => points.tear())

function clear() {
  points.clear()
  isNew = true
}

function tell(text, reason = '') {
  whyError = reason
  show(state, text)
  showNote()
}

/** Why it is an error, or why the graph is empty; as a rule nothing. */
function showNote() {
  const numbers = field ? `numbers in ${field} of` : 'numbers on'
  show(note, whyError || (isFollowing && !points.all.length ? `no ${numbers} ${topic} yet` : ''))
}

// A text that stays the same must not be announced again.
function show(element, text) {
  if (element.textContent !== text) element.textContent = text
}

setInterval(() => {
  if (!isNew || document.hidden) return
  isNew = false
  draw(points.all, points.range)
}, REDRAW_EVERY_MS)
addEventListener('resize', () => { isNew = true })
