// One subscription: what of the connection's stream is its own, in order and once, and what to ask for
// after a break. No socket, no DOM, no timer.

import { checkedDelivery, isConflated } from './delivery.js'
import { Outcome, classify } from './order.js'
import { matcher, overlap } from './patterns.js'
import { formatPosition, later, maybePosition } from './position.js'

/** @typedef {import('./position.js').Position} Position */
/** @typedef {import('./protocol.js').Event} Event */
/** @typedef {import('./protocol.js').Gap} Gap */

/**
 * @typedef {object} Handlers
 * @property {(event: Event) => void} [onEvent]  each event once, in order within its topic; of a
 *   delivery other than 'all' not every one, and `nth` tells how many were left out
 * @property {(gap: Gap) => void} [onGap]        events that cannot be had
 * @property {(start: {position: string, recovered: boolean, truncated: boolean}) => void} [onLive]
 *   the past has been delivered, first and after each break; what follows is live
 * @property {(error: {code: string, message: string}) => void} [onError] refused for good
 */

export const Phase = Object.freeze({ IDLE: 'idle', ASKED: 'asked', LIVE: 'live', REFUSED: 'refused' })

/** @typedef {import('./delivery.js').Delivery} Delivery */
/** @typedef {{history?: number, since?: string, delivery?: Delivery}} Asked */

/** Holes and gaps remembered at a time; beyond it holes are told at once and old gaps may be told again. */
const MOST_REMEMBERED = 256

export class Subscription {
  /** @type {Map<string, {seq: number, nth: number}>} */ #last = new Map()
  /** @type {Map<string, Gap>} what the server told, so that a hole is not told twice */ #told = new Map()
  /** @type {Gap[]} holes in the past that is coming in; judged at the reply */ #holes = []
  /** @type {string | null} of the log that all this is about */ #epoch
  /** @type {number | null} each topic is followed from here */ #start = null
  /** @type {Position | null} where the last answered request left us, or a later `at` */ #position = null
  /** @type {{history?: number, since?: string}} */ #ask
  /** @type {Delivery} what the server was asked for last: fuller than wanted where others share the pattern */ #inForce
  #wasToldSinceAsked = false

  /**
   * @param {string} pattern
   * @param {Asked & Handlers} options
   */
  constructor(pattern, { history, since, delivery, ...handlers }) {
    this.pattern = pattern
    this.delivery = this.#inForce = checkedDelivery(delivery)
    this.matches = matcher(pattern)
    this.phase = Phase.IDLE
    /** @type {Handlers} */ this.handlers = handlers
    this.#ask = since !== undefined ? { since } : history ? { history } : {}
    this.#epoch = maybePosition(since)?.epoch ?? null
  }

  get inForce() {
    return this.#inForce
  }

  /**
   * The request to send. Until its reply comes, the same will be asked again after a break.
   * @param {number} id
   * @param {string | null} epoch of the log as the server's welcome told it
   * @param {Delivery} [delivery] as wanted, or fuller
   */
  request(id, epoch, delivery = this.delivery) {
    const since = maybePosition(this.#ask.since)
    if (since && epoch && since.epoch !== epoch) this.#forget()
    else if (since && this.#start === null) this.#start = since.seq
    this.phase = Phase.ASKED
    this.#wasToldSinceAsked = false
    this.#holes = []
    this.#inForce = delivery
    return { subscribe: this.pattern, id, ...this.#ask, ...(isConflated(delivery) ? { delivery } : {}) }
  }

  /** An event of the past, addressed to this subscription. @param {Event} event @param {string} epoch */
  offerPast(event, epoch) {
    this.#offer(event, gap => {
      // The gap that explains it may come after it; more than we care to hold is told at once.
      if (this.#holes.length < MOST_REMEMBERED) this.#holes.push(gap)
      else this.#tell(gap)
    }, epoch)
  }

  /** An event of the live flow that matches. @param {Event} event @param {string} epoch */
  offerLive(event, epoch) {
    if (this.phase === Phase.LIVE) this.#offer(event, gap => this.#tellIfNew(gap), epoch)
  }

  #offer(event, onHole, epoch) {
    const seen = this.#last.get(event.topic)
    // Of all, everything up to the position of a reply is behind us, whatever of it was ours to see.
    const last = seen === undefined ? this.#start : Math.max(seen.seq, this.#start ?? 0)
    const outcome = classify(last, event)
    if (outcome === Outcome.DUPLICATE) return
    // Others may have all of the topic on this connection: for them it is whole, and to us it owes nothing.
    if (outcome === Outcome.HOLE && !isConflated(this.delivery)) onHole(holeBefore(event, last, seen, epoch))
    this.#last.set(event.topic, { seq: event.seq, nth: event.nth })
    call(this.handlers.onEvent, event)
  }

  /**
   * The server's word that the past has been sent and the live flow goes on from `position`.
   * @param {Position} position
   * @param {{recovered?: boolean, truncated?: boolean}} ok
   */
  answered(position, { recovered = false, truncated = false }) {
    const since = maybePosition(this.#ask.since)
    for (const hole of this.#holes) this.#tellIfNew(hole)
    if (since && !recovered && !this.#wasToldSinceAsked) {
      const before = { epoch: position.epoch, seq: position.seq + 1 }
      this.#tell({ pattern: this.pattern, after: since, before, cause: 'client' })
    }
    this.#holes = []
    this.#epoch = position.epoch
    // The newest of a topic may be late where events are left out: only what was shown is older than it.
    if (this.#start === null || !isConflated(this.delivery)) this.#start = position.seq
    this.#position = position
    this.phase = Phase.LIVE
    call(this.handlers.onLive, { position: formatPosition(position), recovered, truncated })
  }

  /** Nothing up to there is pending of what is not wanted in full. @param {Position} at */
  settled(at) {
    if (this.phase !== Phase.LIVE || !isConflated(this.#inForce)) return
    // Of another log nothing is settled before its gap was told: asked from the old one, the server tells it.
    if (at.epoch === this.#position.epoch) this.#position = later(this.#position, at)
  }

  /** @param {{code: string, message: string}} error */
  refused(error) {
    this.phase = Phase.REFUSED
    call(this.handlers.onError, error)
  }

  /** Not now: the same request is to be made again. */
  postponed() {
    this.phase = Phase.IDLE
  }

  /** A gap on topics of ours. @param {Gap} gap */
  tell(gap) {
    if (!overlap(gap.pattern, this.pattern)) return
    this.#wasToldSinceAsked = true
    const isNewLog = gap.before.epoch !== gap.after.epoch
    const isAnew = isNewLog || isCutBack(gap)
    const start = { epoch: gap.before.epoch, seq: gap.before.seq - 1 }
    const isThere = this.#position?.epoch === start.epoch && (isNewLog || this.#position.seq <= start.seq)
    if (isAnew && this.#position && !isThere) this.#position = start
    // We are in that log already, and have been told; or have followed nothing that could be torn.
    if (isNewLog && this.#epoch === gap.before.epoch) return
    if (this.#epoch === null && this.#last.size === 0) return
    if ([...this.#told.values()].some(told => covers(told, gap))) return
    // Another log, or this one cut back: its numbers begin anew, and what we saw must not hide them.
    if (isAnew) {
      const isFollowing = this.#epoch !== null
      this.#forget()
      if (isFollowing) this.#start = start.seq
      this.#epoch = start.epoch
    }
    if (this.#told.size >= MOST_REMEMBERED) this.#told.delete(this.#told.keys().next().value)
    this.#told.set(gap.pattern, gap)
    // Of a new log the word may have been for one topic's follower: the tear goes through all topics.
    this.#tell(isNewLog ? { ...gap, pattern: this.pattern } : gap)
  }

  /**
   * Where it stands: nothing up to there is missing. Null before the reply.
   * @param {Position | null} position how far the connection has come with what is wanted in full
   */
  place(position) {
    if (this.phase !== Phase.LIVE) return null
    return isConflated(this.#inForce) ? this.#position : later(this.#position, position)
  }

  /**
   * It is not followed any more, and to be asked from where it stands. A request without its reply stays.
   * @param {Position | null} position as for `place`
   */
  leave(position) {
    if (this.phase === Phase.LIVE) this.#ask = { since: formatPosition(this.place(position)) }
    if (this.phase !== Phase.REFUSED) this.phase = Phase.IDLE
  }

  #forget() {
    this.#last.clear()
    this.#told.clear()
    this.#holes = []
    this.#start = null
  }

  #tellIfNew(hole) {
    const isTold = [...this.#told.values()].some(told =>
      overlap(told.pattern, hole.pattern) && told.before.epoch === hole.before.epoch && hole.before.seq <= told.before.seq &&
      (told.after.epoch !== hole.after.epoch || hole.after.seq >= told.after.seq))
    if (!isTold) this.#tell(hole)
  }

  #tell(gap) {
    call(this.handlers.onGap, gap)
  }
}

/** The hole that `prev` betrays: it lies after what we saw, and `prev` is the last that is missing. */
function holeBefore(event, last, seen, epoch) {
  const before = { epoch, seq: event.prev + 1 }
  const gap = { pattern: event.topic, after: { epoch, seq: last }, before, cause: 'client' }
  const lost = seen && event.nth - seen.nth - 1
  return lost > 0 ? { ...gap, lost } : gap
}

/** Whether the log ends before what was seen of it. @param {Gap} gap */
function isCutBack({ after, before }) {
  return after.epoch === before.epoch && before.seq <= after.seq
}

function covers(told, gap) {
  return (told.pattern === gap.pattern || told.pattern === '**') &&
    told.after.epoch === gap.after.epoch && told.before.epoch === gap.before.epoch &&
    told.after.seq <= gap.after.seq && told.before.seq >= gap.before.seq
}

/** A handler's error is its own: it is reported as uncaught, and costs the others none of their events. */
export function call(handler, ...values) {
  try {
    handler?.(...values)
  } catch (error) {
    if (globalThis.reportError) globalThis.reportError(error)
    else queueMicrotask(() => { throw error })
  }
}
