// Browsers publish to browsers over Socket.IO, with the official client: a room is a topic.

import { io } from '/lib/socket.io-client-4.8.4/socket.io.esm.min.js'
import { followState } from '../classic/state.js'
import { remember, remembered } from '../page/memory.js'
import { Lines } from './lines.js'
import { messageOf, placeIn, topicOf } from './rooms.js'

const HISTORY = 50
const ANSWER_MS = 15_000 // the gateway gives the broker 10 seconds

const byId = id => document.getElementById(id)
const [name, room, text, send, refused, place] = ['name', 'room', 'text', 'send', 'refused', 'place'].map(byId)
const lines = new Lines(byId('log'))
const socket = io()
/** @type {string | null} of the room that is wanted */ let topic = null
/** @type {string | null} of the one that the gateway was asked for */ let asked = null
let isIn = false // it has said yes

followState(socket, words => {
  byId('state').textContent = words
  showPlace()
})
socket.on('connect', () => {
  // Recovered: it is in the room still, and what was said meanwhile has come or is coming.
  if (!socket.recovered) asked = null
  else if (!isIn && asked) leave() // the answer was lost on the way
  join()
})
socket.on('event', event => {
  // What was on its way when the room was left is not of this one.
  if (event.topic === topic) lines.message(messageOf(event))
})
socket.on('gap', () => lines.aside('Something that was said here is lost.'))

function join() {
  if (!socket.connected || !topic || asked === topic) return
  if (asked) leave()
  const wanted = asked = topic
  isIn = false
  lines.clear()
  lines.isPast = true
  socket.emit('subscribe', wanted, { history: HISTORY }, ({ error }) => {
    if (wanted !== asked) return
    lines.isPast = false
    isIn = !error
    if (error) {
      asked = topic = null
      tell(`The room stays shut: ${error.message}`)
    }
    showPlace()
  })
}

function leave() {
  // What came until then is no part of what is asked for next.
  socket.emit('unsubscribe', asked, () => lines.clear())
  asked = null
}

/** Where what is written goes, which the field of the room may be ahead of; and whether it can. */
function showPlace() {
  const words = placeIn({ topic, isIn, isConnected: socket.connected })
  // A text that stays the same must not be announced again.
  if (place.textContent !== words) place.textContent = words
  text.disabled = send.disabled = !topic || !socket.connected
}

function tell(words, remedy = '') {
  const said = document.createElement('p')
  said.textContent = words
  refused.replaceChildren(said, remedy)
  refused.hidden = false
}

room.addEventListener('input', () => {
  room.setCustomValidity(topicOf(room.value) || !room.value ? '' : 'One word: no spaces, no / and no *.')
})

byId('entrance').addEventListener('submit', event => {
  event.preventDefault()
  topic = topicOf(room.value)
  remember('chat-name', name.value)
  history.replaceState(null, '', `?${new URLSearchParams({ room: room.value })}`)
  refused.hidden = true
  join()
  showPlace()
  text.focus()
})

byId('writing').addEventListener('submit', async event => {
  event.preventDefault()
  const message = { name: name.value, text: text.value }
  refused.hidden = true
  send.disabled = text.readOnly = true
  try {
    const { error } = await socket.timeout(ANSWER_MS).emitWithAck('publish', topic, message)
    // What was said is seen when it comes back, like everybody's; until then it stays where it was written.
    if (!error) text.value = ''
    else if (error.code === 'forbidden') tell('Nobody may write here.', byId('remedy').content.cloneNode(true))
    else tell(`Not sent: ${error.message}`)
  } catch {
    tell('No answer: it may have been said, or not.')
  }
  text.readOnly = false
  showPlace()
})

name.value = remembered('chat-name') ?? ''
room.value = new URLSearchParams(location.search).get('room') ?? 'lobby'
room.dispatchEvent(new Event('input'))
