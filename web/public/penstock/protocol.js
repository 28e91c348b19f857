// The native protocol, read: a text frame holds one or more JSON objects separated by `\n`; each
// becomes one message with a kind. No socket, no DOM, no timer.

import { maybePosition } from './position.js'

/** @typedef {import('./position.js').Position} Position */

/**
 * @typedef {object} Event
 * @property {string} topic
 * @property {number} seq     place in the log, over all topics
 * @property {number} [prev]  seq of the event before it on the same topic; none where the server skips on purpose
 * @property {number} nth     the topic's own count
 * @property {number} time    seconds since the Unix epoch, the broker's clock
 * @property {unknown} [data] the payload if it is JSON
 * @property {string} [text]  the payload if it is other text
 * @property {string} [base64] any other payload
 */

/**
 * @typedef {object} Gap       events with after < position < before that cannot be had
 * @property {string} pattern
 * @property {Position} after
 * @property {Position} before of a newer epoch where the log began anew
 * @property {string} cause   as the server says, or `client` where this client found the hole itself
 * @property {number} [lost]  how many, where that is known
 */

/**
 * @typedef {{kind: 'welcome', position: Position | null, welcome: object}
 *   | {kind: 'reply', id: number, ok: object | null, error: {code: string, message: string} | null}
 *   | {kind: 'event', subscription: number | null, event: Event}
 *   | {kind: 'at', position: Position}
 *   | {kind: 'gap', subscription: number | null, gap: Gap}
 *   | {kind: 'notice', notice: {code: string}}
 *   | {kind: 'beat'}
 *   | {kind: 'unknown', fault: string}} Message
 */

export const Kind = Object.freeze({
  WELCOME: 'welcome', REPLY: 'reply', EVENT: 'event', AT: 'at', GAP: 'gap', NOTICE: 'notice', BEAT: 'beat', UNKNOWN: 'unknown',
})

/**
 * @param {string} frame
 * @returns {Message[]}
 */
export function parseFrame(frame) {
  return frame.split('\n').filter(line => line !== '').map(parseObject)
}

/**
 * One object. What cannot be read is `unknown`, never an exception: a lost event shows as a hole at
 * the next one, and objects of a newer server are none of our business.
 * @param {string} line
 * @returns {Message}
 */
function parseObject(line) {
  let object
  try {
    object = JSON.parse(line)
  } catch {
    return unknown('not JSON')
  }
  if (object === null || typeof object !== 'object') return unknown('not an object')
  const subscription = isCount(object.history) ? object.history : null
  if (typeof object.topic === 'string') return readEvent(object, subscription)
  if (object.reply !== undefined) return readReply(object)
  if (object.at !== undefined) return readAt(object)
  if (object.gap) return readGap(object.gap, subscription)
  if (typeof object.notice?.code === 'string') return { kind: Kind.NOTICE, notice: object.notice }
  if (object.beat) return { kind: Kind.BEAT }
  if (object.welcome) {
    return { kind: Kind.WELCOME, position: maybePosition(object.welcome.position), welcome: object.welcome }
  }
  return unknown('no kind of object that is known here')
}

function readEvent(object, subscription) {
  const { history, ...event } = object
  const isSound = isCount(event.seq) && isCount(event.nth) && Number.isFinite(event.time) &&
    (event.prev === undefined || isCount(event.prev))
  return isSound ? { kind: Kind.EVENT, subscription, event } : unknown('an event without a sound stamp')
}

function readReply({ reply, ok, error }) {
  if (!isCount(reply)) return unknown('a reply to no request')
  return error
    ? { kind: Kind.REPLY, id: reply, ok: null, error: { code: String(error.code), message: String(error.message) } }
    : { kind: Kind.REPLY, id: reply, ok: ok ?? {}, error: null }
}

function readAt({ at }) {
  const position = maybePosition(at)
  return position ? { kind: Kind.AT, position } : unknown('a position that is none')
}

function readGap({ pattern, after, before, cause, lost }, subscription) {
  const [start, end] = [maybePosition(after), maybePosition(before)]
  if (!start || !end) return unknown('a gap without its two ends')
  const gap = { pattern: String(pattern ?? '**'), after: start, before: end, cause: String(cause) }
  return { kind: Kind.GAP, subscription, gap: isCount(lost) ? { ...gap, lost } : gap }
}

function isCount(value) {
  return Number.isSafeInteger(value) && value >= 0
}

function unknown(fault) {
  return { kind: Kind.UNKNOWN, fault }
}
