// Penstock's client: live events in order and once, or word of the hole.
//
//   import { connect } from '/penstock.js'
//   const feed = connect()
//   feed.subscribe('cpu/**', { history: 100, onEvent: ({ topic, data }) => console.log(topic, data) })
//
//   await feed.publish('room/1', { text: 'hello' })
//
// This file owns the socket and the timers; what they mean is decided in ./penstock/. One WebSocket
// carries all subscriptions; it comes back by itself, and each subscription goes on where it was.

import { afterClose, backoffMs } from './penstock/backoff.js'
import { PublishError } from './penstock/outbox.js'
import { Session } from './penstock/session.js'
import { Silence } from './penstock/silence.js'
import { State, describe, isSilent } from './penstock/states.js'
import { call } from './penstock/subscription.js'

export { PublishError, State, describe }

const PROTOCOL = 'penstock.v1'
const WELCOME_WITHIN_MS = 10_000
const ASK_AGAIN_MS = 2_000
/** A connection that stood this long was a good one: the next break starts the backoff anew. */
const GOOD_AFTER_MS = 10_000
const ABANDONED = { code: 1006, reason: '' }

/**
 * What the client needs of its surroundings; tests bring their own.
 * @typedef {object} Surroundings
 * @property {typeof WebSocket} WebSocket
 * @property {(fn: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now  milliseconds on a clock that does not jump
 * @property {() => number} random
 * @property {() => string} newKey  a text that nobody else has
 * @property {EventTarget | null} network  tells `online` and `offline`
 */

/** @type {() => Surroundings} */
const ours = () => ({
  WebSocket: globalThis.WebSocket,
  setTimeout: (fn, ms) => globalThis.setTimeout(fn, ms),
  clearTimeout: timer => globalThis.clearTimeout(timer),
  now: () => performance.now(),
  random: Math.random,
  newKey,
  network: typeof globalThis.addEventListener === 'function' ? globalThis : null,
})

/** 128 random bits. crypto.randomUUID is not there on pages that come by http. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('')
}

/** `/ws` of the page's origin. */
function ownUrl() {
  const url = new URL('/ws', globalThis.location.href)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return url.href
}

/**
 * Connect, and stay connected until `close`.
 * @param {string} [url] ws:// or wss://; `/ws` of the page's origin if not given
 * @param {Partial<Surroundings>} [surroundings]
 */
export function connect(url, surroundings) {
  return new Penstock(url ?? ownUrl(), { ...ours(), ...surroundings })
}

export class Penstock {
  /** @type {import('./penstock/states.js').FeedState} */ #state = { name: State.CONNECTING }
  /** @type {WebSocket | null} */ #socket = null
  /** @type {any} until the welcome is late, the next look at the silence, or the next try: one at a time */ #timer = null
  /** @type {any} */ #askTimer = null
  /** @type {any} until what was refused for now is published again */ #publishTimer = null
  /** @type {any} until the oldest publish is given up */ #giveUpTimer = null
  #session
  #around
  #listeners = new Set()
  /** @type {Silence} of the connection that stands */ #silence
  #welcomeMs = 0
  #attempt = 0

  /** @param {string} url @param {Surroundings} surroundings */
  constructor(url, surroundings) {
    this.url = url
    this.#around = surroundings
    this.#session = new Session({
      onWelcome: () => this.#welcome(),
      onNotice: notice => this.#notice(notice),
    })
    surroundings.network?.addEventListener('online', this.#online)
    surroundings.network?.addEventListener('offline', this.#offline)
    this.#open()
  }

  get state() {
    return this.#state
  }

  /** The state in words, as of now. */
  get stateText() {
    return describe(this.#state, this.#around.now())
  }

  /** From where all subscriptions could go on, as text that `since` takes; null until a reply has come. */
  get position() {
    return this.#session.position
  }

  /**
   * Follow a pattern. Of several patterns that match a topic, the fullest delivery holds for all.
   * @param {string} pattern
   * @param {import('./penstock/subscription.js').Asked & import('./penstock/subscription.js').Handlers} options
   *   history: the last so many events of each topic first; since: all events after that position first;
   *   delivery: 'all', or less for whom the newest is enough: 'latest' (as often as this side takes it)
   *   or {hz: 1 | 2 | 5 | 10 | 20 | 30 | 60}
   * @returns {() => void} stops it
   * @throws {TypeError} a delivery that there is not
   */
  subscribe(pattern, options) {
    const stop = this.#session.subscribe(pattern, options)
    this.#flush()
    return () => {
      stop()
      this.#flush()
    }
  }

  /**
   * Publish, once: what has no answer yet is sent again after a break, and for a while when it is refused
   * for now. Several go out in the order of the calls.
   * @param {string} topic
   * @param {unknown} data  bytes (an ArrayBuffer, a Uint8Array), or anything that JSON can say
   * @param {{key?: string}} [options]  key: what is published under a known one is not published again; drawn at
   *   random if not given
   * @returns {Promise<import('./penstock/outbox.js').Published>} when it is in the log. Rejects with a
   *   PublishError that has the `code`; with a TypeError for what cannot be sent
   */
  publish(topic, data, { key = this.#around.newKey() } = {}) {
    return new Promise((resolve, reject) => {
      if ([State.CLOSED, State.ERROR].includes(this.#state.name)) throw new PublishError('closed', this.stateText)
      this.#session.outbox.add(topic, data, key, this.#around.now(), { resolve, reject })
      this.#flush()
    })
  }

  /** Hear of each change of state, first of the present one. @returns {() => void} stops it */
  onState(listener) {
    this.#listeners.add(listener)
    call(listener, this.#state)
    return () => { this.#listeners.delete(listener) }
  }

  /**
   * Ask the gateway for its clock.
   * @returns {Promise<{rttMs: number, serverMs: number} | null>} serverMs: milliseconds since the Unix
   *   epoch, half a round trip ago; null if the connection is not up or ends first
   */
  ping() {
    if (this.#state.name !== State.CONNECTED) return Promise.resolve(null)
    const sentMs = this.#around.now()
    return new Promise(resolve => {
      this.#session.ping(ok => resolve(ok && { rttMs: this.#around.now() - sentMs, serverMs: ok.time * 1000 }))
      this.#flush()
    })
  }

  /** Try again at once rather than when it is due. */
  retryNow() {
    if (this.#state.name === State.WAITING) this.#open()
  }

  close() {
    this.#around.network?.removeEventListener('online', this.#online)
    this.#around.network?.removeEventListener('offline', this.#offline)
    this.#leave()
    this.#end({ name: State.CLOSED })
  }

  #open() {
    this.#around.clearTimeout(this.#timer)
    let socket
    try {
      socket = new this.#around.WebSocket(this.url, [PROTOCOL])
    } catch (error) {
      // A URL that is none, or ws: from an https: page: no later try can do better.
      this.#end({ name: State.ERROR, why: error.message })
      return
    }
    socket.onmessage = ({ data }) => this.#heard(data)
    socket.onclose = close => this.#lost(close)
    socket.onerror = () => {}   // says nothing that the close after it does not; node would throw without
    this.#socket = socket
    this.#timer = this.#around.setTimeout(() => this.#lost(ABANDONED), WELCOME_WITHIN_MS)
    this.#become({ name: State.CONNECTING })
  }

  #heard(data) {
    if (this.#state.name === State.CONNECTED) this.#hearSign()
    if (typeof data === 'string') this.#session.receive(data)
    this.#flush()
    if (this.#session.hasPostponed && !this.#askTimer) {
      this.#askTimer = this.#around.setTimeout(() => {
        this.#askTimer = null
        this.#session.askAgain()
        this.#flush()
      }, ASK_AGAIN_MS * (0.5 + this.#around.random()))
    }
  }

  #welcome() {
    this.#welcomeMs = this.#around.now()
    this.#silence = new Silence(this.#welcomeMs)
    this.#session.wantBeat()
    this.#look()
    this.#become({ name: State.CONNECTED, transport: 'websocket', stale: false, slow: false, silentSinceMs: null })
  }

  #notice(notice) {
    if (!['stale', 'slow'].includes(notice.code) || this.#state.name !== State.CONNECTED) return
    this.#become({ ...this.#state, [notice.code]: notice[notice.code] !== false })
    if (notice.code === 'stale' && !this.#state.stale) this.#publishAgain()
  }

  #hearSign() {
    if (!this.#silence.heard(this.#around.now())) return
    this.#look()
    if (isSilent(this.#state)) this.#become({ ...this.#state, silentSinceMs: null })
  }

  /** A connection can be dead without anybody saying so: look now, and again when there may be more to see. */
  #look() {
    this.#around.clearTimeout(this.#timer)
    const nowMs = this.#around.now()
    const found = this.#silence.look(nowMs)
    if (found.isLost) return this.#lost(ABANDONED)
    if (found.asks) this.#session.ping(() => {})
    this.#timer = this.#around.setTimeout(() => this.#look(), found.dueMs - nowMs)
    this.#flush()
    if (found.isSilent && !isSilent(this.#state)) this.#become({ ...this.#state, silentSinceMs: this.#silence.heardMs })
  }

  #doubt() {
    this.#silence.doubt(this.#around.now())
    this.#look()
  }

  #flush() {
    for (const frame of this.#session.takeOutgoing()) this.#socket.send(frame)
    this.#watchOutbox()
  }

  #watchOutbox() {
    const { outbox } = this.#session
    const { setTimeout, clearTimeout, random, now } = this.#around
    if (outbox.held && !this.#publishTimer) {
      this.#publishTimer = setTimeout(() => this.#publishAgain(), backoffMs(outbox.held - 1, random))
    }
    if (outbox.size && !this.#giveUpTimer) {
      this.#giveUpTimer = setTimeout(() => {
        this.#giveUpTimer = null
        outbox.expire(now())
        this.#flush()
      }, Math.max(0, outbox.untilMs - now()) + 1)
    } else if (!outbox.size) {
      clearTimeout(this.#giveUpTimer)
      this.#giveUpTimer = null
    }
  }

  #publishAgain() {
    this.#around.clearTimeout(this.#publishTimer)
    this.#publishTimer = null
    this.#session.outbox.goOn()
    this.#flush()
  }

  /** @param {{code: number, reason: string}} close */
  #lost(close) {
    const { now, random } = this.#around
    if (this.#state.name === State.CONNECTED && now() - this.#welcomeMs >= GOOD_AFTER_MS) this.#attempt = 0
    this.#leave()
    const next = afterClose(close, this.#attempt, random)
    if (!next.comesBack) {
      this.#end({ name: State.ERROR, why: next.why })
      return
    }
    this.#attempt += 1
    this.#timer = this.#around.setTimeout(() => this.#open(), next.delayMs)
    this.#become({ name: State.WAITING, dueMs: now() + next.delayMs, attempt: this.#attempt })
  }

  /** Let go of the socket: nothing it still has to say is heard. */
  #leave() {
    this.#around.clearTimeout(this.#timer)
    this.#around.clearTimeout(this.#askTimer)
    this.#around.clearTimeout(this.#publishTimer)
    this.#askTimer = this.#publishTimer = null
    const socket = this.#socket
    this.#socket = null
    this.#session.broke()
    if (!socket) return
    socket.onmessage = socket.onclose = null
    socket.close()
  }

  /** No next try is due. */
  #end(state) {
    this.#around.clearTimeout(this.#giveUpTimer)
    this.#become(state)
    this.#session.outbox.end(this.stateText)
  }

  /** Who hears of it may close the feed, so what an open one needs is done before. */
  #become(state) {
    this.#state = state
    for (const listener of [...this.#listeners]) call(listener, state)
  }

  // The network is back: perhaps a moment after all clients of this host went away, so not all at once.
  #online = () => {
    // The connection may have died with the network before, or live on as if nothing had been.
    if (this.#state.name === State.CONNECTED) this.#doubt()
    if (this.#state.name !== State.WAITING) return
    this.#around.clearTimeout(this.#timer)
    this.#timer = this.#around.setTimeout(() => this.#open(), backoffMs(0, this.#around.random))
  }

  #offline = () => {
    // No proof: a gateway on this machine is still there. But worth a question.
    if (this.#state.name === State.CONNECTED) this.#doubt()
  }
}
