// The client over a real socket, against the gateway in miniature. Timers run a hundred times faster.

import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { WebSocket } from 'ws'
import { State, connect } from '../public/penstock.js'
import { EPOCH, fakeServer } from './fake_server.js'

const FASTER = 100

/** What a test sees of a feed, with `until` to wait for a fact. */
class Seen {
  events = []
  gaps = []
  lives = []
  errors = []
  states = []
  #waiting = []

  handlers() {
    const keep = list => value => {
      list.push(value)
      this.#look()
    }
    return { onEvent: keep(this.events), onGap: keep(this.gaps), onLive: keep(this.lives), onError: keep(this.errors) }
  }

  onState = state => {
    this.states.push(state)
    this.#look()
  }

  values() {
    return this.events.map(({ data }) => data)
  }

  until(isFact) {
    return new Promise(resolve => {
      this.#waiting.push([() => isFact(this), resolve])
      this.#look()
    })
  }

  #look() {
    this.#waiting = this.#waiting.filter(([isFact, resolve]) => !isFact() || resolve())
  }
}

describe('a feed', { timeout: 20_000 }, () => {
  let server, feed, seen, delays
  const follow = (pattern, options) => feed.subscribe(pattern, { ...options, ...seen.handlers() })
  const open = (surroundings = {}) => {
    feed = connect(server.url, {
      WebSocket,
      random: () => 0.5,
      setTimeout: (fn, ms) => {
        delays.push(ms)
        return setTimeout(fn, ms / FASTER)
      },
      ...surroundings,
    })
    feed.onState(seen.onState)
  }
  beforeEach(async () => {
    seen = new Seen()
    delays = []
    server = await fakeServer()
  })
  afterEach(async () => {
    feed.close()
    await server.stop()
  })

  test('brings the history, then the live events, each once', async () => {
    for (const n of [1, 2, 3]) server.publish('a', n)
    open()
    follow('a', { history: 2 })
    await seen.until(() => seen.lives.length === 1)
    server.publish('a', 4)
    await seen.until(() => seen.events.length === 3)
    assert.deepEqual(seen.values(), [2, 3, 4])
    assert.deepEqual(seen.gaps, [])
    assert.equal(feed.position, `${EPOCH.e1}.4`)
  })

  test('says where history and live overlap nothing twice', async () => {
    const event = server.publish('a', 1)
    open()
    follow('a', { history: 10 })
    await seen.until(() => seen.lives.length === 1)
    server.broadcast(event)
    server.publish('a', 2)
    await seen.until(() => seen.events.length === 2)
    assert.deepEqual(seen.values(), [1, 2])
  })

  test('goes on by position after a break', async () => {
    open()
    follow('a', { history: 5 })
    await seen.until(() => seen.lives.length === 1)
    server.publish('a', 1)
    await seen.until(() => seen.events.length === 1)
    server.breakAll()
    server.publish('a', 2)
    server.publish('b', 'another')
    const again = await server.asked(1)
    assert.equal(again.since, `${EPOCH.e1}.1`)
    assert.equal(again.history, undefined)
    await seen.until(() => seen.lives.length === 2)
    server.publish('a', 3)
    await seen.until(() => seen.events.length === 3)
    assert.deepEqual(seen.values(), [1, 2, 3])
    assert.deepEqual(seen.gaps, [])
    assert.deepEqual(seen.states.map(({ name }) => name), [
      State.CONNECTING, State.CONNECTED, State.WAITING, State.CONNECTING, State.CONNECTED,
    ])
  })

  test('of values brings the newest, and after a break those that changed', async () => {
    open()
    follow('**', { delivery: 'latest' })
    await seen.until(() => seen.lives.length === 1)
    for (const n of [1, 2, 3]) server.publish('a', n)
    server.publish('b', 1)
    server.settle()
    await seen.until(() => seen.events.length === 2)
    server.publish('a', 4)   // kept back, and lost with the connection
    server.breakAll()
    for (const n of [5, 6]) server.publish('a', n)
    const again = await server.asked(1)
    assert.deepEqual([again.since, again.delivery], [`${EPOCH.e1}.4`, 'latest'])
    await seen.until(() => seen.lives.length === 2)
    server.publish('b', 2)
    server.settle()
    await seen.until(() => seen.events.length === 4)
    assert.deepEqual(seen.events.map(({ topic, data, nth }) => [topic, data, nth]), [['a', 3, 3], ['b', 1, 1], ['a', 6, 6], ['b', 2, 2]])
    assert.deepEqual(seen.gaps, [])
  })

  test('of values goes on from what `at` told, with no event since', async () => {
    open()
    follow('a', { delivery: { hz: 5 } })
    await seen.until(() => seen.lives.length === 1)
    for (const n of [1, 2, 3]) server.publish('b', n)
    server.settle()
    await feed.ping()
    server.breakAll()
    assert.equal((await server.asked(1)).since, `${EPOCH.e1}.3`)
  })

  test('of both kinds goes on with each where it was', async () => {
    const whole = new Seen()
    open()
    follow('cpu/**', { delivery: { hz: 5 } })
    feed.subscribe('cpu/load', whole.handlers())
    await whole.until(() => whole.lives.length === 1)
    for (const n of [1, 2, 3]) {
      server.publish('cpu/load', n)
      server.publish('cpu/heat', n)
    }
    await whole.until(() => whole.events.length === 3)
    server.breakAll()
    for (const n of [4, 5]) server.publish('cpu/load', n)
    await whole.until(() => whole.lives.length === 2)
    await seen.until(() => seen.lives.length === 2)
    assert.deepEqual([await server.asked(2), await server.asked(3)].map(({ since }) => since), [`${EPOCH.e1}.0`, `${EPOCH.e1}.5`])
    assert.deepEqual(whole.values(), [1, 2, 3, 4, 5])
    // What was kept back came by the resume; what it had seen in full came once.
    assert.deepEqual(seen.events.map(({ topic, data }) => [topic, data]), [
      ['cpu/load', 1], ['cpu/load', 2], ['cpu/load', 3], ['cpu/heat', 3], ['cpu/load', 5],
    ])
    assert.deepEqual([...seen.gaps, ...whole.gaps], [])
  })

  test('refuses a delivery that there is not, and goes on', async () => {
    open()
    assert.throws(() => follow('a', { delivery: { hz: 3 } }), /^TypeError: delivery: want 'all', 'latest' or \{hz: n\}/)
    follow('a')
    await seen.until(() => seen.lives.length === 1)
    assert.equal(server.requests.length, 1)
  })

  test('that was closed for being slow comes back by position', async () => {
    open()
    follow('a')
    await seen.until(() => seen.lives.length === 1)
    server.publish('a', 1)
    await seen.until(() => seen.events.length === 1)
    server.broadcast({ notice: { code: 'slow', slow: true } })
    await seen.until(() => seen.states.at(-1).slow)
    assert.equal(feed.stateText, 'Connected: websocket (behind)')
    server.closeAll(4408, 'too slow')
    assert.equal((await server.asked(1)).since, `${EPOCH.e1}.1`)
    await seen.until(() => seen.lives.length === 2)
    assert.equal(feed.stateText, 'Connected: websocket')
  })

  test('asks whether its connection is alive when the network comes back', async () => {
    const network = new EventTarget()
    open({ network })
    await seen.until(() => seen.states.at(-1).name === State.CONNECTED)
    server.isMute = true
    network.dispatchEvent(new Event('online'))
    await seen.until(() => seen.states.at(-1).name === State.WAITING)
    assert.deepEqual(server.requests.map(({ ping }) => typeof ping), ['number'])
  })

  test('asks again as first asked what had no reply, and only that', async () => {
    server.publish('b', 1)
    open()
    follow('a')
    await seen.until(() => seen.lives.length === 1)
    server.publish('a', 'x')
    await seen.until(() => seen.events.length === 1)
    server.answers = ({ id, subscribe }) => subscribe === 'b'
      ? [{ history: id, topic: 'b', seq: 1, prev: 0, nth: 1, time: 1, data: 1 }]   // and no reply
      : null
    follow('b', { history: 7 })
    await seen.until(() => seen.events.length === 2)
    server.answers = () => null
    server.breakAll()
    const again = [await server.asked(2), await server.asked(3)]
    assert.deepEqual(again.map(({ id, ...rest }) => rest), [
      { subscribe: 'a', since: `${EPOCH.e1}.2` },
      { subscribe: 'b', history: 7 },
    ])
    await seen.until(() => seen.lives.length === 3)
    assert.deepEqual(seen.values(), ['x', 1])
  })

  test('starts anew after a gap of cause epoch', async () => {
    open()
    follow('a')
    await seen.until(() => seen.lives.length === 1)
    for (const n of [1, 2, 3]) server.publish('a', n)
    await seen.until(() => seen.events.length === 3)
    const old = server.position
    server.begin('e2')
    server.broadcast({ gap: { pattern: '**', after: old, before: `${EPOCH.e2}.1`, cause: 'epoch' } })
    server.publish('a', 'new')
    await seen.until(() => seen.events.length === 4)
    assert.deepEqual(seen.values(), [1, 2, 3, 'new'])
    assert.deepEqual(seen.gaps.map(({ cause }) => cause), ['epoch'])
    server.breakAll()
    assert.equal((await server.asked(1)).since, `${EPOCH.e2}.1`)
  })

  test('comes back to another log with word of the gap, even if the server gives none', async () => {
    open()
    follow('a')
    await seen.until(() => seen.lives.length === 1)
    for (const n of [1, 2]) server.publish('a', n)
    await seen.until(() => seen.events.length === 2)
    server.begin('e2')
    server.publish('a', 'first of the new')
    server.answers = ({ id }) => [
      { history: id, topic: 'a', seq: 1, prev: 0, nth: 1, time: 1, data: 'first of the new' },
      { reply: id, ok: { position: server.position, recovered: false } },
    ]
    server.breakAll()
    await seen.until(() => seen.lives.length === 2)
    assert.deepEqual(seen.values(), [1, 2, 'first of the new'])
    assert.deepEqual(seen.gaps.map(({ cause, after }) => [cause, after.seq]), [['client', 2]])
  })

  test('each of two subscriptions hears of the new log once, and goes on in it', async () => {
    const other = new Seen()
    open()
    follow('**')
    feed.subscribe('a', other.handlers())
    await seen.until(() => seen.lives.length === 1)
    await other.until(() => other.lives.length === 1)
    server.publish('a', 1)
    await other.until(() => other.events.length === 1)
    const old = server.position
    server.breakAll()
    server.begin('e2')
    server.publish('a', 'first')
    server.publish('a', 'second')
    server.answers = ({ id, subscribe }) => [
      { gap: { pattern: subscribe, after: old, before: `${EPOCH.e2}.1`, cause: 'epoch' } },
      { history: id, topic: 'a', seq: 1, prev: 0, nth: 1, time: 1, data: 'first' },
      { history: id, topic: 'a', seq: 2, prev: 1, nth: 2, time: 1, data: 'second' },
      { reply: id, ok: { position: server.position, recovered: false } },
    ]
    await seen.until(() => seen.lives.length === 2)
    await other.until(() => other.lives.length === 2)
    server.broadcast({ topic: 'a', seq: 3, prev: 2, nth: 3, time: 1, data: 'third' })
    await other.until(() => other.events.length === 4)
    for (const each of [seen, other]) {
      assert.deepEqual(each.values(), [1, 'first', 'second', 'third'])
      assert.deepEqual(each.gaps.map(({ cause }) => cause), ['epoch'])
    }
  })

  test('a new subscription is told nothing of a log it never followed', async () => {
    open()
    server.answers = ({ id }) => [
      { gap: { pattern: '**', after: `${EPOCH.e1}.9`, before: `${EPOCH.e2}.1`, cause: 'epoch' } },
      { reply: id, ok: { position: `${EPOCH.e2}.0`, recovered: true } },
    ]
    follow('a')
    await seen.until(() => seen.lives.length === 1)
    assert.deepEqual(seen.gaps, [])
  })

  test('a welcome before the broker was heard forgets nothing', async () => {
    open()
    follow('a')
    await seen.until(() => seen.lives.length === 1)
    server.publish('a', 1)
    await seen.until(() => seen.events.length === 1)
    server.welcome = '0000000000000000.0'
    server.answers = ({ id }) => [
      { history: id, topic: 'a', seq: 1, prev: 0, nth: 1, time: 1, data: 1 },
      { reply: id, ok: { position: server.position, recovered: true } },
    ]
    server.breakAll()
    await seen.until(() => seen.lives.length === 2)
    assert.deepEqual(seen.values(), [1])
  })

  test('tells a hole that the server did not', async () => {
    open()
    follow('**')
    await seen.until(() => seen.lives.length === 1)
    server.publish('a', 1)
    server.broadcast({ topic: 'a', seq: 9, prev: 7, nth: 4, time: 1, data: 4 })
    await seen.until(() => seen.events.length === 2)
    assert.deepEqual(seen.gaps, [{
      pattern: 'a', after: { epoch: EPOCH.e1, seq: 1 }, before: { epoch: EPOCH.e1, seq: 8 }, cause: 'client', lost: 2,
    }])
  })

  test('comes back from a draining gateway when it was told to', async () => {
    open()
    await seen.until(() => seen.states.at(-1).name === State.CONNECTED)
    server.closeAll(1012, 'draining, come back in 1.7 s')
    await seen.until(() => seen.states.at(-1).name === State.WAITING)
    assert.equal(delays.at(-1), 1_700)
    await seen.until(() => seen.states.at(-1).name === State.CONNECTED)
  })

  for (const code of [4401, 4403]) {
    test(`does not come back after ${code}`, async () => {
      open()
      await seen.until(() => seen.states.at(-1).name === State.CONNECTED)
      const timers = delays.length
      server.closeAll(code, 'no right to it')
      await seen.until(() => seen.states.at(-1).name === State.ERROR)
      assert.equal(feed.stateText, 'Error: no right to it')
      assert.equal(delays.length, timers, 'no next try is due')
    })
  }

  test('does not call silence a connection, and takes it for the end of one in time', async () => {
    open({ now: () => performance.now() * FASTER })
    await seen.until(() => seen.states.at(-1).name === State.CONNECTED)
    server.isMute = true
    await seen.until(() => seen.states.at(-1).silentSinceMs)
    assert.match(feed.stateText, /^No answer for \d+ s$/)
    assert.ok(server.requests.some(({ ping }) => ping))
    await seen.until(() => seen.states.at(-1).name === State.WAITING)
  })

  test('is connected again when something comes after all', async () => {
    open({ now: () => performance.now() * FASTER })
    await seen.until(() => seen.states.at(-1).name === State.CONNECTED)
    server.isMute = true
    await seen.until(() => seen.states.at(-1).silentSinceMs)
    server.isMute = false
    server.broadcast({ beat: true })
    await seen.until(() => seen.states.at(-1).silentSinceMs === null)
    assert.equal(feed.stateText, 'Connected: websocket')
  })

  for (const [when, isThen, bring] of [
    ['stands', ({ name }) => name === State.CONNECTED, () => {}],
    ['is silent', ({ silentSinceMs }) => silentSinceMs, () => { server.isMute = true }],
    ['tries again', ({ name }) => name === State.CONNECTING && seen.states.length > 2, () => server.breakAll()],
  ]) {
    test(`stays closed if who hears that it ${when} closes it`, async () => {
      const due = new Set()
      const clear = timer => due.delete(timer) && clearTimeout(timer)
      open({
        now: () => performance.now() * FASTER,
        setTimeout(fn, ms) {
          const timer = setTimeout(() => due.delete(timer) && fn(), ms / FASTER)
          due.add(timer)
          return timer
        },
        clearTimeout: clear,
      })
      feed.onState(state => { if (isThen(state)) feed.close() })
      await seen.until(() => seen.states.length > 1)
      bring()
      await seen.until(() => seen.states.at(-1).name === State.CLOSED)
      assert.deepEqual([due.size, feed.state.name], [0, State.CLOSED])
    })
  }

  test('asks each connection for beats', async () => {
    open()
    await seen.until(() => seen.states.at(-1).name === State.CONNECTED)
    assert.notEqual(await feed.ping(), null)
    assert.equal(server.beats, 1)
    server.breakAll()
    await seen.until(() => seen.states.filter(({ name }) => name === State.CONNECTED).length === 2)
    assert.notEqual(await feed.ping(), null)
    assert.equal(server.beats, 2)
  })

  test('asks again what was refused for now, and tells what was refused for good', async () => {
    server.answers = ({ id, subscribe }) => [
      { reply: id, error: { code: subscribe === 'a' ? 'unavailable' : 'forbidden', message: 'no' } },
    ]
    open()
    follow('b')
    follow('a')
    await seen.until(() => seen.errors.length === 1)
    assert.equal(seen.errors[0].code, 'forbidden')
    server.answers = () => null
    await seen.until(() => seen.lives.length === 1)
    assert.deepEqual(server.requests.map(({ subscribe }) => subscribe), ['b', 'a', 'a'])
  })

  test('unsubscribes a pattern when its last follower stops', async () => {
    open()
    const stops = [follow('a'), follow('a')]
    await seen.until(() => seen.lives.length === 2)
    stops[0]()
    stops[1]()
    stops[1]()
    assert.notEqual(await feed.ping(), null)
    assert.deepEqual(server.requests.slice(2).map(({ unsubscribe }) => unsubscribe), ['a', undefined])
  })

  test('shows that the gateway does not hear the broker', async () => {
    open()
    await seen.until(() => seen.states.at(-1).name === State.CONNECTED)
    server.broadcast({ notice: { code: 'stale', stale: true } })
    await seen.until(() => seen.states.at(-1).stale)
    assert.equal(feed.stateText, 'Connected: websocket (broker silent)')
    server.broadcast({ notice: { code: 'stale', stale: false } })
    await seen.until(() => !seen.states.at(-1).stale)
    assert.equal(feed.stateText, 'Connected: websocket')
  })

  test('reads the clock of the gateway', async () => {
    open()
    assert.equal(await feed.ping(), null)
    await seen.until(() => seen.states.at(-1).name === State.CONNECTED)
    const { rttMs, serverMs } = await feed.ping()
    assert.ok(rttMs >= 0)
    assert.equal(serverMs, 1_790_000_000_500)
  })

  test('an error in one handler costs the others nothing', async t => {
    const thrown = new Promise(resolve => { globalThis.reportError = resolve })
    t.after(() => { delete globalThis.reportError })
    open()
    feed.subscribe('a', { onEvent: () => { throw new Error('mine') } })
    follow('a')
    await seen.until(() => seen.lives.length === 1)
    server.publish('a', 1)
    await seen.until(() => seen.events.length === 1)
    assert.equal((await thrown).message, 'mine')
  })
})
