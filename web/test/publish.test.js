// Publishing: the outbox by tables, and the client over a real socket. Timers run a hundred times faster.

import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { WebSocket } from 'ws'
import { PublishError, State, connect } from '../public/penstock.js'
import { GIVE_UP_MS, MOST_WAITING, Outbox, UNDER_WAY } from '../public/penstock/outbox.js'
import { Session } from '../public/penstock/session.js'
import { EPOCH, fakeServer } from './fake_server.js'

const FASTER = 100
const PLENTY = 1 << 16
const LATER = { code: 'unavailable', message: 'later' }
const NEVER = { code: 'forbidden', message: 'never' }

/** An outbox, and in short what became of each that was put in: `name ok` or `name: code`. */
class Played {
  outbox = new Outbox()
  settled = []
  #lastId = 0

  add(...names) {
    for (const name of names) {
      this.outbox.add(name, 1, `key of ${name}`, 0, {
        resolve: ({ position, repeated }) => this.settled.push(`${name} at ${position}${repeated ? ', again' : ''}`),
        reject: ({ code }) => this.settled.push(`${name}: ${code}`),
      })
    }
  }

  /** What goes out, as `topic#id` and which it follows. */
  send(most = PLENTY) {
    return this.outbox.takeOutgoing(() => ++this.#lastId, most).map(text => {
      const { publish, id, follows } = JSON.parse(text)
      return `${publish}#${id}${follows ? ` after ${follows}` : ''}`
    })
  }

  confirm(...ids) {
    for (const id of ids) this.outbox.answered(id, { position: `e.${id}` }, null)
  }

  refuse(error, ...ids) {
    for (const id of ids) this.outbox.answered(id, null, error)
  }
}

describe('the outbox', () => {
  test('sends in order, each after the one before it that has no answer', () => {
    const played = new Played()
    played.add('a', 'b')
    assert.deepEqual(played.send(), ['a#1', 'b#2 after 1'])
    assert.deepEqual(played.send(), [])
    played.confirm(1)
    played.add('c')
    assert.deepEqual(played.send(), ['c#3 after 2'])
    played.confirm(2, 3)
    played.add('d')
    assert.deepEqual(played.send(), ['d#4'], 'all before it were confirmed')
    assert.deepEqual(played.settled, ['a at e.1', 'b at e.2', 'c at e.3'])
  })

  test('sends again what was refused for now, and all behind it, in order', () => {
    const played = new Played()
    played.add('a', 'b', 'c')
    played.send()
    played.refuse(LATER, 1, 2)
    assert.equal(played.outbox.held, 1)
    played.outbox.goOn()
    assert.deepEqual(played.send(), [], 'c has no answer yet: it could be logged before a')
    played.refuse(LATER, 3)
    assert.equal(played.outbox.held, 2)
    played.outbox.goOn()
    assert.deepEqual(played.send(), ['a#4', 'b#5 after 4', 'c#6 after 5'])
    played.confirm(4)
    played.refuse(LATER, 5)
    assert.equal(played.outbox.held, 1, 'in a row')
  })

  test('has done with what was refused for good', () => {
    const played = new Played()
    played.add('a', 'b')
    played.send()
    played.refuse(NEVER, 1)
    played.refuse(LATER, 2)
    played.outbox.goOn()
    assert.deepEqual(played.send(), ['b#3'])
    assert.deepEqual(played.settled, ['a: forbidden'])
  })

  test('sends everything without an answer again on the next connection', () => {
    const played = new Played()
    played.add('a', 'b', 'c')
    played.send()
    played.confirm(1)
    played.refuse(LATER, 2)
    played.outbox.broke()
    assert.deepEqual(played.send(), ['b#4', 'c#5 after 4'])
    played.confirm(2, 3)
    assert.deepEqual(played.settled, ['a at e.1'], 'answers of the connection before say nothing')
    played.outbox.answered(4, { position: 'e.2', repeated: true }, null)
    assert.deepEqual(played.settled, ['a at e.1', 'b at e.2, again'])
  })

  test('has so many under way, and so many waiting', () => {
    const played = new Played()
    for (let n = 1; n <= MOST_WAITING; n++) played.add(`n${n}`)
    assert.throws(() => played.add('one more'), error => error instanceof PublishError && error.code === 'limit')
    assert.equal(played.send().length, UNDER_WAY)
    played.confirm(1, 2)
    assert.deepEqual(played.send(), [`n${UNDER_WAY + 1}#${UNDER_WAY + 1} after ${UNDER_WAY}`, `n${UNDER_WAY + 2}#${UNDER_WAY + 2} after ${UNDER_WAY + 1}`])
    played.add('one more')
  })

  test('does not send what would end the connection', () => {
    const played = new Played()
    played.add('a', 'b'.repeat(200), 'c')
    assert.deepEqual(played.send(200), ['a#1', 'c#2 after 1'])
    assert.deepEqual(played.settled, [`${'b'.repeat(200)}: payload_too_large`])
  })

  test('gives up in time, and says what is known', () => {
    const played = new Played()
    played.add('a')
    played.send()
    played.outbox.broke()
    played.add('b')
    played.outbox.expire(GIVE_UP_MS - 1)
    assert.deepEqual([played.settled, played.outbox.untilMs], [[], GIVE_UP_MS])
    played.outbox.expire(GIVE_UP_MS)
    assert.deepEqual([played.settled, played.outbox.untilMs], [['a: unknown', 'b: unavailable'], null])
  })

  test('ends, and says what is known', () => {
    const played = new Played()
    played.add('a')
    played.send()
    played.add('b')
    played.outbox.end('over')
    assert.deepEqual([played.settled, played.outbox.size], [['a: unknown', 'b: closed'], 0])
  })

  for (const [name, data, expected] of [
    ['an object', { v: [1, 'x\n'] }, { data: { v: [1, 'x\n'] } }],
    ['a string', 'x', { data: 'x' }],
    ['null', null, { data: null }],
    ['a whole surrogate pair', '\u{1F600}', { data: '\u{1F600}' }],
    ['what only looks like half a pair', '\\ud800', { data: '\\ud800' }],
    ['bytes', new Uint8Array([255, 254]), { base64: '//4=' }],
    ['no bytes', new Uint8Array(), { base64: '' }],
    ['a part of a buffer', new Uint8Array([1, 255, 254, 2]).subarray(1, 3), { base64: '//4=' }],
    ['a buffer', new Uint8Array([255, 254]).buffer, { base64: '//4=' }],
    ['words', new Uint16Array([0xfeff]), { base64: '//4=' }],
  ]) {
    test(`says ${name}`, () => {
      const outbox = new Outbox()
      outbox.add('a', data, 'k', 0, {})
      assert.deepEqual(outbox.takeOutgoing(() => 1, PLENTY).map(text => JSON.parse(text)), [{ publish: 'a', id: 1, key: 'k', ...expected }])
    })
  }

  test('says many bytes', () => {
    const outbox = new Outbox()
    const bytes = Uint8Array.from({ length: 200_000 }, (_, n) => n)
    outbox.add('a', bytes, 'k', 0, {})
    const [text] = outbox.takeOutgoing(() => 1, 1 << 20)
    assert.deepEqual(Uint8Array.from(Buffer.from(JSON.parse(text).base64, 'base64')), bytes)
  })

  for (const [name, topic, data, key] of [
    ['nothing', 'a', undefined, 'k'], ['a function', 'a', () => 1, 'k'], ['a BigInt', 'a', 1n, 'k'],
    ['half a surrogate pair', 'a', ['\ud800'], 'k'], ['another half', 'a', { '\udc00': 1 }, 'k'], ['one behind a backslash', 'a', '\\\ud800', 'k'],
    ['a topic that is no string', 7, 1, 'k'], ['a key that is none', 'a', 1, 7],
  ]) {
    test(`does not take ${name}`, () => {
      const outbox = new Outbox()
      assert.throws(() => outbox.add(topic, data, key, 0, {}), TypeError)
      assert.equal(outbox.size, 0)
    })
  }
})

test('an answer that comes after its publish was given up moves nothing', () => {
  const session = new Session()
  session.receive(`{"welcome":{"position":"${EPOCH.e1}.5","gateway":"00"}}`)
  session.subscribe('a', {})
  const [{ id }] = session.takeOutgoing().map(text => JSON.parse(text))
  session.receive(`{"reply":${id},"ok":{"position":"${EPOCH.e1}.5","recovered":true}}`)
  session.outbox.add('a', 1, 'k', 0, { reject() {} })
  const [published] = session.takeOutgoing().map(text => JSON.parse(text))
  session.outbox.expire(GIVE_UP_MS)
  session.receive(`{"reply":${published.id},"ok":{"position":"${EPOCH.e1}.9"}}`)
  assert.equal(session.position, `${EPOCH.e1}.5`, 'what came between would be missed after a break')
})

describe('a feed that publishes', { timeout: 20_000 }, () => {
  let server, feed, states, heard
  const open = (surroundings = {}) => {
    feed = connect(server.url, {
      WebSocket, random: () => 0.5, setTimeout: (fn, ms) => setTimeout(fn, ms / FASTER), ...surroundings,
    })
    feed.onState(({ name }) => {
      states.push(name)
      heard()
    })
  }
  const stands = async () => {
    while (states.at(-1) !== State.CONNECTED) await new Promise(resolve => { heard = resolve })
  }
  beforeEach(async () => {
    states = []
    heard = () => {}
    server = await fakeServer()
  })
  afterEach(async () => {
    feed.close()
    await server.stop()
  })
  const data = () => server.published.map(each => each.data)

  test('is told the place when it is logged', async () => {
    open()
    assert.deepEqual(await feed.publish('a', { v: 1 }), { position: `${EPOCH.e1}.1`, repeated: false })
    assert.deepEqual(server.published, [{ topic: 'a', data: { v: 1 } }])
  })

  test('takes the place of its own event for none of how far it has come', async () => {
    open()
    const live = new Promise(resolve => feed.subscribe('b', { onLive: resolve }))
    await live
    await feed.publish('a', 1)
    server.breakAll()
    assert.equal((await server.asked(1)).since, `${EPOCH.e1}.0`)
  })

  test('publishes what it was given before it was connected, in order', async () => {
    open()
    await Promise.all([1, 2, 3].map(n => feed.publish('a', n)))
    assert.deepEqual(data(), [1, 2, 3])
  })

  test('publishes once what was not answered before the break', async () => {
    open()
    await stands()
    server.isMute = true
    const both = Promise.all([feed.publish('a', 1), feed.publish('a', 2)])
    while (server.requests.length < 2) await new Promise(resolve => setImmediate(resolve))
    server.isMute = false
    server.breakAll()
    assert.deepEqual((await both).map(({ repeated }) => repeated), [false, false])
    assert.deepEqual(data(), [1, 2])
  })

  test('hears that it was logged by the connection that broke', async () => {
    open()
    await stands()
    // Logged, and the answer goes down with the connection.
    server.refuses = () => {
      server.refuses = () => null
      server.breakAll()
      return null
    }
    assert.deepEqual(await feed.publish('a', 1), { position: `${EPOCH.e1}.1`, repeated: true })
    assert.deepEqual(data(), [1])
  })

  test('under a known key is told the first place', async () => {
    open()
    const first = await feed.publish('a', 1, { key: 'mine' })
    assert.deepEqual(await feed.publish('a', 1, { key: 'mine' }), { ...first, repeated: true })
  })

  test('draws a key for each', async () => {
    open()
    await Promise.all([feed.publish('a', 1), feed.publish('a', 1)])
    const keys = server.requests.map(({ key }) => key)
    assert.ok(keys.every(key => /^[0-9a-f]{32}$/.test(key)) && keys[0] !== keys[1], keys)
  })

  test('goes on trying while it is refused for now, in order', async () => {
    open()
    let refusals = 5
    server.refuses = () => refusals-- > 0 ? { code: 'unavailable', message: 'later' } : null
    await Promise.all([1, 2, 3].map(n => feed.publish('a', n)))
    assert.deepEqual(data(), [1, 2, 3])
  })

  test('does not wait on when the broker is heard again', async () => {
    // Nothing is tried again by time.
    const never = (fn, ms) => ms === 250 ? null : setTimeout(fn, ms / FASTER)
    open({ setTimeout: never })
    server.refuses = () => ({ code: 'unavailable', message: 'later' })
    const published = feed.publish('a', 1)
    await stands()
    while (!server.requests.length) await new Promise(resolve => setImmediate(resolve))
    server.refuses = () => null
    server.broadcast({ notice: { code: 'stale', stale: false } })
    await published
    assert.deepEqual(data(), [1])
  })

  test('rejects what is refused for good, and goes on with the next', async () => {
    open()
    server.refuses = ({ publish }) => publish === 'no' ? { code: 'forbidden', message: 'not there' } : null
    const [refused, taken] = await Promise.allSettled([feed.publish('no', 1), feed.publish('a', 2)])
    assert.ok(refused.reason instanceof PublishError)
    assert.deepEqual([refused.reason.code, refused.reason.message], ['forbidden', 'not there'])
    assert.equal(taken.status, 'fulfilled')
  })

  test('gives up in time', async () => {
    server.isMute = true
    open({ now: () => performance.now() * FASTER })
    await assert.rejects(feed.publish('a', 1), { name: 'PublishError', code: 'unavailable' })
  })

  test('rejects what waits when it is closed, and what comes after', async () => {
    open()
    const published = feed.publish('a', 1)
    feed.close()
    await assert.rejects(published, { code: 'closed' })
    await assert.rejects(feed.publish('a', 2), { code: 'closed' })
  })

  test('rejects what waits when it may not come back', async () => {
    open()
    await stands()
    server.isMute = true
    const published = feed.publish('a', 1)
    server.closeAll(4403, 'no right to it')
    await assert.rejects(published, { code: 'unknown', message: /^Error: no right to it/ })
  })

  test('rejects what nobody could send', async () => {
    open()
    await assert.rejects(feed.publish('a', () => 1), TypeError)
  })
})
