// All subscriptions of one feed, and what it publishes, over any number of connections: what to send, and
// whose is what arrives. No socket, no DOM, no timer: the shell hands in frames and sends what
// `takeOutgoing` gives.

import { fullest, isSame } from './delivery.js'
import { Outbox } from './outbox.js'
import { NO_EPOCH, formatPosition, later, maybePosition } from './position.js'
import { Kind, parseFrame } from './protocol.js'
import { Phase, Subscription, call } from './subscription.js'

/** The error that says "not now" rather than "never". */
const NOT_NOW = 'unavailable'
const MOST_ROUTES = 10_000
const MESSAGE_BYTES = 64 << 10

export class Session {
  /** @type {Set<Subscription>} */ #subscriptions = new Set()
  /** @type {Map<number, Subscription>} requests without their reply */ #asked = new Map()
  /** @type {Map<number, (ok: object | null) => void>} */ #pings = new Map()
  /** @type {Map<string, Subscription[]>} topic -> who wants it */ #routes = new Map()
  /** @type {import('./position.js').Position | null} how far this connection has come with what is
   * wanted in full; each subscription that is not keeps a place of its own */ #position = null
  /** @type {string | null} */ #epoch = null
  /** @type {object[]} */ #outgoing = []
  #messageBytes = MESSAGE_BYTES
  #lastId = 0
  #isWelcome = false

  /**
   * @param {{onWelcome?: (welcome: object) => void, onNotice?: (notice: {code: string}) => void,
   *   onFault?: (fault: string) => void}} handlers
   */
  constructor(handlers = {}) {
    this.handlers = handlers
    this.outbox = new Outbox()
  }

  /** From where all subscriptions could go on without missing anything, as text for `since`; null before
   * the first reply. */
  get position() {
    const places = [...this.#subscriptions].map(each => each.place(this.#position)).filter(place => place !== null)
    const first = places.length ? places.reduce((a, b) => (later(a, b) === a ? b : a)) : this.#position
    return first && formatPosition(first)
  }

  /** Requests were refused for now: the shell is to call `askAgain` in a while. */
  get hasPostponed() {
    return this.#isWelcome && [...this.#subscriptions].some(({ phase }) => phase === Phase.IDLE)
  }

  /** Follow a pattern; the returned function stops it. */
  subscribe(pattern, options) {
    const subscription = new Subscription(pattern, options)
    this.#subscriptions.add(subscription)
    this.#routes.clear()
    if (this.#isWelcome) {
      this.#ask(subscription)
      this.#align(pattern)
    }
    return () => this.#unsubscribe(subscription)
  }

  /** @param {(ok: {time: number} | null) => void} done with null if the connection ends first */
  ping(done) {
    const id = ++this.#lastId
    this.#pings.set(id, done)
    this.#outgoing.push({ ping: id, id })
  }

  /** Have the server say something now and then. */
  wantBeat() {
    this.#outgoing.push({ beat: true, id: ++this.#lastId })
  }

  askAgain() {
    for (const subscription of this.#subscriptions) {
      if (subscription.phase === Phase.IDLE) this.#ask(subscription)
    }
  }

  /** @returns {string[]} frames to send, in order */
  takeOutgoing() {
    const publishes = this.#isWelcome ? this.outbox.takeOutgoing(() => ++this.#lastId, this.#messageBytes) : []
    return [...this.#outgoing.splice(0).map(object => JSON.stringify(object)), ...publishes]
  }

  /** @param {string} frame */
  receive(frame) {
    for (const message of parseFrame(frame)) this.#take(message)
  }

  /** The connection is gone. */
  broke() {
    for (const subscription of this.#subscriptions) subscription.leave(this.#position)
    for (const done of this.#pings.values()) call(done, null)
    this.outbox.broke()
    this.#pings.clear()
    this.#asked.clear()
    this.#outgoing.length = 0
    this.#position = null
    this.#isWelcome = false
  }

  #take(message) {
    switch (message.kind) {
      case Kind.EVENT: return this.#event(message)
      case Kind.REPLY: return this.#reply(message)
      case Kind.AT: return this.#settled(message.position)
      case Kind.GAP: return this.#gap(message)
      case Kind.NOTICE: return call(this.handlers.onNotice, message.notice)
      case Kind.WELCOME: return this.#welcome(message)
      case Kind.BEAT: return   // that it came is all there is to it
      default: return call(this.handlers.onFault, message.fault)
    }
  }

  #welcome({ position, welcome }) {
    // Not a place to go on from: nothing has been asked for yet. But it names the log, if one is known.
    this.#epoch = position && position.epoch !== NO_EPOCH ? position.epoch : null
    this.#isWelcome = true
    this.#messageBytes = welcome.limits?.message_bytes ?? MESSAGE_BYTES
    call(this.handlers.onWelcome, welcome)
    this.askAgain()
  }

  #event({ subscription, event }) {
    if (subscription !== null) {
      // Addressed to one subscription; it says nothing of how far the others have come.
      this.#asked.get(subscription)?.offerPast(event, this.#epoch)
      return
    }
    if (event.prev !== undefined) this.#moveTo({ epoch: this.#epoch, seq: event.seq })
    for (const receiver of this.#receivers(event.topic)) receiver.offerLive(event, this.#epoch)
  }

  #receivers(topic) {
    let receivers = this.#routes.get(topic)
    if (!receivers) {
      if (this.#routes.size >= MOST_ROUTES) this.#routes.clear()
      receivers = [...this.#subscriptions].filter(({ matches }) => matches(topic))
      this.#routes.set(topic, receivers)
    }
    return receivers
  }

  #reply({ id, ok, error }) {
    // Where an event of ours stands says nothing of how far we have come.
    if (this.outbox.answered(id, ok, error)) return
    const pinged = this.#pings.get(id)
    const subscription = this.#asked.get(id)
    this.#pings.delete(id)
    this.#asked.delete(id)
    if (pinged) return call(pinged, ok)
    // Perhaps to a publish that was given up: see above.
    if (!subscription) return
    const position = maybePosition(ok?.position)
    if (position) this.#moveTo(position)
    if (position) subscription.answered(position, ok)
    else if (error && error.code !== NOT_NOW) subscription.refused(error)
    else subscription.postponed()
    this.#align(subscription.pattern)
  }

  /** Says nothing about what is wanted in full: that may still lie before it. */
  #settled(at) {
    this.#epoch = at.epoch
    for (const subscription of this.#subscriptions) subscription.settled(at)
  }

  #gap({ subscription, gap }) {
    const { after, before } = gap
    const isCutBack = after.epoch === before.epoch && before.seq <= after.seq
    if (before.epoch !== this.#epoch) this.#moveTo({ epoch: before.epoch, seq: before.seq - 1 })
    else if (isCutBack && this.#position?.seq >= before.seq) this.#position = { ...before, seq: before.seq - 1 }
    if (subscription !== null) this.#asked.get(subscription)?.tell(gap)
    else for (const receiver of this.#subscriptions) receiver.tell(gap)
  }

  #moveTo(position) {
    this.#epoch = position.epoch
    this.#position = later(this.#position, position)
  }

  #ask(subscription) {
    const id = ++this.#lastId
    this.#asked.set(id, subscription)
    this.#outgoing.push(subscription.request(id, this.#epoch, this.#delivery(subscription.pattern)))
  }

  /** To the server a pattern has one delivery, which the newest request decides. */
  #delivery(pattern) {
    return fullest(this.#sharing(pattern).map(({ delivery }) => delivery))
  }

  /** Whoever shares a pattern whose delivery has changed is asked anew, from where it stands. */
  #align(pattern) {
    for (const each of this.#sharing(pattern)) {
      if (each.phase !== Phase.LIVE || isSame(each.inForce, this.#delivery(pattern))) continue
      each.leave(this.#position)
      this.#ask(each)
    }
  }

  #sharing(pattern) {
    return [...this.#subscriptions].filter(each => each.pattern === pattern && each.phase !== Phase.REFUSED)
  }

  #unsubscribe(subscription) {
    if (!this.#subscriptions.delete(subscription)) return
    this.#routes.clear()
    for (const [id, asker] of this.#asked) if (asker === subscription) this.#asked.delete(id)
    const isKnown = subscription.phase === Phase.ASKED || subscription.phase === Phase.LIVE
    if (!this.#isWelcome) return
    if (this.#sharing(subscription.pattern).length) this.#align(subscription.pattern)
    else if (isKnown) this.#outgoing.push({ unsubscribe: subscription.pattern, id: ++this.#lastId })
  }
}
