// Rooms as topics, and events as messages. Pure.

const ROOT = 'room/'
const TOPIC_MAX_BYTES = 255
/** What a topic's segment must not hold: white space, control characters, what patterns and paths are made of. */
const UNFIT = /[\s\p{Cc}/*]/u

/** @param {string} room @returns {string | null} null if nothing can be called that */
export function topicOf(room) {
  const isName = room !== '' && room !== '.' && room !== '..' && !UNFIT.test(room)
  const topic = ROOT + room
  return isName && new TextEncoder().encode(topic).length <= TOPIC_MAX_BYTES ? topic : null
}

/**
 * Which room one is in, or what is missing for writing in it.
 * @param {{topic: string | null, isIn: boolean, isConnected: boolean}} state  topic: of the room that is wanted
 * @returns {string}
 */
export function placeIn({ topic, isIn, isConnected }) {
  if (!topic) return 'Enter a room to write there.'
  if (!isConnected) return `No connection: you can write in ${topic} when it is back.`
  return isIn ? `You are in ${topic}.` : `Entering ${topic}...`
}

/**
 * Who said what. Anybody may publish anything in a room: what this page did not write is shown as it is.
 * @param {{time: number, data?: unknown, text?: string}} event  with an ArrayBuffer as data where the payload is binary
 * @returns {{at: Date, name: string, text: string}}
 */
export function messageOf({ time, data, text }) {
  const at = new Date(time * 1000)
  if (typeof data?.name === 'string' && typeof data.text === 'string') return { at, name: data.name, text: data.text }
  if (data instanceof ArrayBuffer) return { at, name: '', text: `(${data.byteLength} bytes)` }
  return { at, name: '', text: text ?? JSON.stringify(data) }
}
