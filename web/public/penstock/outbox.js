// What is to be published, in order, until it is answered. No socket, no DOM, no timer.
//
// Each has a key, under which it is logged once however often it is sent: after a break, all that has no
// answer is sent again. Several are under way at a time, and each says which one it follows, so that
// behind one that was not logged none of them is.

/** That wait for their answer; beyond it a publish is refused. */
export const MOST_WAITING = 1_000
/** Sent and not answered, on one connection. */
export const UNDER_WAY = 32
/** After so long without an answer it is told that there is none. */
export const GIVE_UP_MS = 120_000
/** `id` and `follows`, at most. */
const HEAD_BYTES = 64

/** Errors after which the same, sent again, may be taken. */
const PASSING = new Set(['unknown', 'unavailable', 'limit'])
/** JSON.stringify escapes no surrogate but one without its other half, which no server takes. */
const LONE_SURROGATE = /(?:^|[^\\])(?:\\\\)*\\ud[89a-f]/

/** Not published, or nobody knows: `code` is one of the protocol's, or `closed`. */
export class PublishError extends Error {
  name = 'PublishError'

  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

/**
 * @typedef {{position: string, repeated: boolean}} Published  repeated: it was in the log before, by an
 *   earlier try or an earlier publish with the same key
 * @typedef {{resolve: (published: Published) => void, reject: (error: Error) => void}} Handlers
 * @typedef {{text: string, bytes: number, untilMs: number, handlers: Handlers, id: number | null, wasSent: boolean}} Entry
 */

export class Outbox {
  /** @type {Entry[]} in order; those with an id are under way */ #waiting = []
  /** @type {Map<number, Entry>} */ #underWay = new Map()
  #refusals = 0
  #isHeld = false

  /** How many wait. */
  get size() {
    return this.#waiting.length
  }

  /** How often in a row it was refused for now, if nothing is to be sent before `goOn`; else 0. */
  get held() {
    return this.#isHeld ? this.#refusals : 0
  }

  /** When the oldest is to be given up; null if none waits. */
  get untilMs() {
    return this.#waiting[0]?.untilMs ?? null
  }

  /**
   * @param {string} topic
   * @param {unknown} data  bytes (an ArrayBuffer or a view of one), or what JSON can say
   * @param {string} key
   * @param {number} nowMs
   * @param {Handlers} handlers
   * @throws {TypeError} no data that can be sent
   * @throws {PublishError} too many wait
   */
  add(topic, data, key, nowMs, handlers) {
    const text = encoded(topic, data, key)
    if (this.#waiting.length >= MOST_WAITING) {
      throw new PublishError('limit', `${MOST_WAITING} publishes wait for their answer, and no more may`)
    }
    const bytes = new TextEncoder().encode(text).length
    this.#waiting.push({ text, bytes, untilMs: nowMs + GIVE_UP_MS, handlers, id: null, wasSent: false })
  }

  /**
   * What is to be sent now.
   * @param {() => number} newId
   * @param {number} mostBytes  of a message
   * @returns {string[]}
   */
  takeOutgoing(newId, mostBytes) {
    const outgoing = []
    const first = this.#waiting.findIndex(({ id }) => id === null)
    // Of those behind one that was refused, some may still be under way: first their answers.
    if (this.#isHeld || first < 0 || first < this.#underWay.size) return outgoing
    for (let place = first; place < this.#waiting.length && place < UNDER_WAY;) {
      const entry = this.#waiting[place]
      if (entry.bytes + HEAD_BYTES > mostBytes) {
        const message = `${entry.bytes} bytes as JSON: the gateway takes messages of ${mostBytes}`
        this.#settle(entry).reject(new PublishError('payload_too_large', message))
        continue
      }
      const before = this.#waiting[place - 1]
      entry.id = newId()
      entry.wasSent = true
      this.#underWay.set(entry.id, entry)
      const follows = before ? `"follows":${before.id},` : ''
      outgoing.push(`{"id":${entry.id},${follows}${entry.text.slice(1)}`)
      place++
    }
    return outgoing
  }

  /**
   * @param {number} id
   * @param {{position?: string, repeated?: boolean} | null} ok
   * @param {{code: string, message: string} | null} error
   * @returns {boolean} whether that was ours
   */
  answered(id, ok, error) {
    const entry = this.#underWay.get(id)
    if (!entry) return false
    this.#underWay.delete(id)
    if (error && PASSING.has(error.code)) {
      entry.id = null
      if (!this.#isHeld) this.#refusals++
      this.#isHeld = true
    } else if (error) {
      this.#settle(entry).reject(new PublishError(error.code, error.message))
    } else {
      this.#refusals = 0
      this.#settle(entry).resolve({ position: ok.position, repeated: ok.repeated === true })
    }
    return true
  }

  /** Send again what was refused for now. */
  goOn() {
    this.#isHeld = false
  }

  /** The connection is gone: on the next one everything is sent again. */
  broke() {
    for (const entry of this.#waiting) entry.id = null
    this.#underWay.clear()
    this.#isHeld = false
    this.#refusals = 0
  }

  /** Give up those whose time is over. @param {number} nowMs */
  expire(nowMs) {
    while (this.#waiting.length && this.#waiting[0].untilMs <= nowMs) {
      this.#giveUp(this.#waiting[0], 'unavailable', `no answer for ${GIVE_UP_MS / 1000} s`)
    }
  }

  /** There is no next connection. @param {string} why */
  end(why) {
    for (const entry of [...this.#waiting]) this.#giveUp(entry, 'closed', why)
  }

  #giveUp(entry, code, why) {
    const error = entry.wasSent
      ? new PublishError('unknown', `${why}: it may or may not have been published`)
      : new PublishError(code, `${why}: not published`)
    this.#settle(entry).reject(error)
  }

  #settle(entry) {
    this.#waiting.splice(this.#waiting.indexOf(entry), 1)
    this.#underWay.delete(entry.id)
    return entry.handlers
  }
}

/** The request, without its id. */
function encoded(topic, data, key) {
  const bytes = maybeBytes(data)
  const json = bytes ? JSON.stringify(base64(bytes)) : JSON.stringify(data)
  if (typeof topic !== 'string') throw new TypeError('publish: want a topic as a string')
  if (typeof key !== 'string') throw new TypeError('publish: want a key as a string')
  if (json === undefined) throw new TypeError(`publish: ${typeof data} is nothing that JSON can say`)
  const text = `{"publish":${JSON.stringify(topic)},"key":${JSON.stringify(key)},"${bytes ? 'base64' : 'data'}":${json}}`
  if (LONE_SURROGATE.test(text)) throw new TypeError('publish: a string has half a surrogate pair')
  return text
}

function maybeBytes(data) {
  if (data instanceof ArrayBuffer) return new Uint8Array(data)
  return ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : null
}

function base64(bytes) {
  let text = ''
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000))
  return btoa(text)
}
