// Publishes the numbers 1 to N, each of them once and in order: `node confirmed.mjs 1000`. Breaks of the link, restarts of
// the broker and of this program cost nothing: number n is event n of this producer, and the log knows how many it has.
import { Dealer } from 'zeromq'
import { setTimeout as sleep } from 'node:timers/promises'

const PRODUCER = 'example/numbers'
const COUNT = Number(process.argv[2] ?? 1_000)
const REQUEST_EVENTS = 100
const IN_FLIGHT_EVENTS = 8 * REQUEST_EVENTS
const DEADLINE_MS = 2_000
const PAUSE_MS = 200

// `immediate`: what was meant for a broker that has gone does not wait for the next one.
const socket = new Dealer({ immediate: true, linger: 0, receiveTimeout: DEADLINE_MS })
socket.connect(process.env.PENSTOCK_PRODUCER__CONTROL ?? 'tcp://127.0.0.1:5557')
let id = 0

/** Sends a request, under the next id; waits for a link. */
async function ask(request, ...events) {
  await socket.send([JSON.stringify({ id: ++id, producer: PRODUCER, ...request }), ...events])
}

/** The next answer; null if none comes in time. */
async function maybeAnswer() {
  try {
    return JSON.parse((await socket.receive())[0])
  } catch (error) {
    if (error.code === 'EAGAIN') return null
    throw error
  }
}

/** Event n in a frame of events: topic bytes (u16), payload bytes (u32), content type (1 is JSON); topic; payload. */
function packed(n) {
  const [topic, payload] = [Buffer.from('example/numbers'), Buffer.from(JSON.stringify({ n }))]
  const head = Buffer.alloc(7)
  head.writeUInt16BE(topic.length, 0)
  head.writeUInt32BE(payload.length, 2)
  head.writeUInt8(1, 6)
  return Buffer.concat([head, topic, payload])
}

/** Takes the id over: who had it before is fenced. What the log has of it: `last`. */
async function hello() {
  for (;;) {
    await ask({ op: 'hello' })
    let answer = await maybeAnswer()
    while (answer && answer.id !== id) answer = await maybeAnswer()
    if (answer?.ok) return answer.ok
    if (answer) await sleep(PAUSE_MS)
  }
}

let { incarnation, last } = await hello()
let begun = id // answers up to this one are of an incarnation that is over
let givenUp = id // refusals up to this one are of requests that are sent again
let sent = last
while (last < COUNT) {
  while (sent < Math.min(COUNT, last + IN_FLIGHT_EVENTS)) {
    const upto = Math.min(COUNT, sent + REQUEST_EVENTS)
    const events = Array.from({ length: upto - sent }, (_, place) => packed(sent + 1 + place))
    await ask({ op: 'publish', incarnation, first: sent + 1, known: last }, Buffer.concat(events))
    sent = upto
  }
  const answer = await maybeAnswer()
  if (answer?.id <= begun) continue
  if (answer?.ok) {
    last = Math.max(last, answer.ok.last)
    sent = Math.max(sent, last)
    continue
  }
  if (answer?.id <= givenUp) continue
  switch (answer?.error.code) {
    case 'unavailable': // the log cannot be written just now
      await sleep(PAUSE_MS)
      break
    case 'out_of_order': // a request before it was lost, or the log has gone back: it says how far it is
    case 'unknown_producer':
      ;({ incarnation, last } = await hello())
      begun = id
      break
    case undefined: // no answer: it may have been lost, or the request
      break
    default: // fenced: another program took the id; or an event that is refused for good
      throw new Error(`${answer.error.code}: ${answer.error.message}`)
  }
  givenUp = id
  sent = last
}
console.log(`confirmed ${last}`)
