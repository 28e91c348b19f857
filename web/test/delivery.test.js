// Delivery: what a client asks for, and what it makes of events that are left out on purpose. Frames in,
// requests out, by tables.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { checkedDelivery, fullest, isConflated, isSame } from '../public/penstock/delivery.js'
import { Session } from '../public/penstock/session.js'

const E1 = '00000000000000e1'
const E2 = '00000000000000e2'
const LATEST = { delivery: 'latest' }
const HZ_5 = { delivery: { hz: 5 } }

describe('a delivery', () => {
  for (const sound of ['all', 'latest', ...[1, 2, 5, 10, 20, 30, 60].map(hz => ({ hz }))]) {
    test(`there is ${JSON.stringify(sound)}`, () => assert.deepEqual(checkedDelivery(sound), sound))
  }
  test('all is meant without it', () => assert.equal(checkedDelivery(undefined), 'all'))
  for (const [name, wanted] of [
    ['another word', 'newest'], ['nothing', null], ['a number', 5], ['a rate that there is not', { hz: 3 }], ['text', { hz: '5' }],
    ['no rate', {}], ['more than a rate', { hz: 5, burst: 2 }], ['a list', [5]], ['yes', true],
  ]) {
    test(`there is none: ${name}`, () => assert.throws(() => checkedDelivery(wanted), {
      name: 'TypeError', message: "delivery: want 'all', 'latest' or {hz: n} with n one of 1, 2, 5, 10, 20, 30, 60",
    }))
  }
  test('is a copy', () => {
    const wanted = { hz: 5 }
    const taken = checkedDelivery(wanted)
    wanted.hz = 60
    assert.deepEqual(taken, { hz: 5 })
  })
  for (const [name, several, expected] of [
    ['all before latest', ['latest', 'all', { hz: 60 }], 'all'],
    ['latest before any rate', [{ hz: 60 }, 'latest'], 'latest'],
    ['the higher rate', [{ hz: 5 }, { hz: 20 }, { hz: 10 }], { hz: 20 }],
    ['one alone', [{ hz: 1 }], { hz: 1 }],
  ]) test(`the fullest: ${name}`, () => assert.deepEqual(fullest(several), expected))
  test('two objects can say the same', () => {
    assert.ok(isSame({ hz: 5 }, { hz: 5 }))
    assert.ok(!isSame({ hz: 5 }, { hz: 10 }))
  })
  test('only all leaves nothing out', () => {
    assert.deepEqual(['all', 'latest', { hz: 60 }].map(isConflated), [false, true, true])
  })
})

/** A feed over connections that are played by hand. */
class Play {
  session = new Session()
  sent = []       // requests of this connection
  heard = {}      // by the name of the follower: values, and causes of gaps
  #stops = {}

  constructor() {
    this.welcome()
  }

  /** A new connection. */
  welcome(position = `${E1}.9`) {
    this.sent = []
    this.hear({ welcome: { position } })
    return this
  }

  /** @param {string} pattern also the follower's name, if no other is given */
  follow(pattern, options, name = pattern) {
    const heard = this.heard[name] = []
    this.#stops[name] = this.session.subscribe(pattern, {
      ...options, onEvent: ({ data }) => heard.push(data), onGap: ({ cause }) => heard.push(cause),
    })
    return this.#take()
  }

  stop(name) {
    this.#stops[name]()
    return this.#take()
  }

  hear(...objects) {
    this.session.receive(objects.map(object => JSON.stringify(object)).join('\n'))
    return this.#take()
  }

  /** The reply to the newest request but so many. */
  reply(seq, { back = 0, ...ok } = {}) {
    const asked = this.sent.filter(({ subscribe }) => subscribe)
    return this.hear({ reply: asked.at(-1 - back).id, ok: { position: `${E1}.${seq}`, recovered: true, ...ok } })
  }

  /** Answered at that position. */
  live(pattern, options, seq, name) {
    return this.follow(pattern, options, name).reply(seq)
  }

  /** Break off and come back: what is asked, without ids. */
  again() {
    this.session.broke()
    return this.welcome().sent.map(({ id, ...asked }) => asked)
  }

  asked() {
    return this.sent.map(({ id, ...asked }) => asked)
  }

  #take() {
    this.sent.push(...this.session.takeOutgoing().map(frame => JSON.parse(frame)))
    return this
  }
}

const full = (topic, seq, prev, nth = seq) => ({ topic, seq, prev, nth, time: 1, data: seq })
const bare = (topic, seq, nth = seq) => ({ topic, seq, nth, time: 1, data: seq })
const at = seq => ({ at: `${E1}.${seq}` })
const newLog = { gap: { pattern: '**', after: `${E1}.30`, before: `${E2}.1`, cause: 'epoch' } }

describe('coming back', () => {
  const since = (pattern, position, rest = {}) => ({ subscribe: pattern, since: position, ...rest })
  for (const [name, play, expected] of [
    ['from the reply while nothing was said of what is pending',
      new Play().live('a', LATEST, 10).hear(bare('a', 15)), [since('a', `${E1}.10`, LATEST)]],
    ['from the last at', new Play().live('a', LATEST, 10).hear(bare('a', 15), at(14), bare('a', 20)), [since('a', `${E1}.14`, LATEST)]],
    ['at a rate', new Play().live('a', HZ_5, 10).hear(at(14)), [since('a', `${E1}.14`, HZ_5)]],
    ['each from its own place', new Play().live('a', LATEST, 10).live('b', {}, 11).hear(full('b', 20, 5), bare('a', 18), at(17)),
      [since('a', `${E1}.17`, LATEST), since('b', `${E1}.20`)]],
    ['a value moves nobody', new Play().live('a', LATEST, 10).live('b', {}, 11).hear(bare('a', 40)),
      [since('a', `${E1}.10`, LATEST), since('b', `${E1}.11`)]],
    ['an at says nothing of what is wanted in full', new Play().live('b', {}, 10).live('a', LATEST, 11).hear(at(500)),
      [since('b', `${E1}.11`), since('a', `${E1}.500`, LATEST)]],
    ['a reply moves no other', new Play().live('a', LATEST, 10).hear(at(12)).live('b', LATEST, 20),
      [since('a', `${E1}.12`, LATEST), since('b', `${E1}.20`, LATEST)]],
    ['an at from before the reply says nothing of what it brought', new Play().live('a', LATEST, 10).hear(at(500)).live('b', LATEST, 100),
      [since('a', `${E1}.500`, LATEST), since('b', `${E1}.100`, LATEST)]],
    ['an at never goes back', new Play().live('a', LATEST, 10).hear(at(20), at(15)), [since('a', `${E1}.20`, LATEST)]],
    ['as first asked without a reply', new Play().live('b', {}, 10).follow('a', { history: 7, ...HZ_5 }).hear(at(500)),
      [since('b', `${E1}.10`), { subscribe: 'a', history: 7, ...HZ_5 }]],
    ['since a position without a reply', new Play().follow('a', { since: `${E1}.3`, ...LATEST }), [since('a', `${E1}.3`, LATEST)]],
    ['into the new log that was told', new Play().live('a', LATEST, 30).hear(newLog, { at: `${E2}.4` }), [since('a', `${E2}.4`, LATEST)]],
    ['to its beginning', new Play().live('a', LATEST, 30).hear(newLog), [since('a', `${E2}.0`, LATEST)]],
    ['not into a new log that was not told', new Play().live('a', LATEST, 30).hear({ at: `${E2}.4` }), [since('a', `${E1}.30`, LATEST)]],
    ['to where a log was cut back', new Play().live('a', LATEST, 30)
      .hear({ gap: { pattern: '**', after: `${E1}.30`, before: `${E1}.21`, cause: 'future' } }), [since('a', `${E1}.20`, LATEST)]],
    ['all is not said', new Play().live('a', { delivery: 'all' }, 10), [since('a', `${E1}.10`)]],
  ]) test(name, () => assert.deepEqual(play.again(), expected))

  test('as often as it takes', () => {
    const play = new Play().live('a', LATEST, 10).hear(at(14))
    assert.deepEqual(play.again(), [since('a', `${E1}.14`, LATEST)])
    assert.deepEqual(play.again(), [since('a', `${E1}.14`, LATEST)])
    play.reply(40)
    assert.deepEqual(play.again(), [since('a', `${E1}.40`, LATEST)])
  })
  for (const [name, play, expected] of [
    ['none before a reply', new Play().follow('a', LATEST), null],
    ['of events', new Play().live('a', {}, 10).hear(full('a', 15, 3)), `${E1}.15`],
    ['of values', new Play().live('a', LATEST, 10).hear(bare('a', 15), at(12)), `${E1}.12`],
    ['of both, the earlier', new Play().live('a', LATEST, 10).live('b', {}, 11).hear(full('b', 20, 5), at(17)), `${E1}.17`],
    ['of both, the other one', new Play().live('a', LATEST, 10).live('b', {}, 11).hear(at(17)), `${E1}.11`],
  ]) test(`the position of a feed: ${name}`, () => assert.equal(play.session.position, expected))
})

describe('events', () => {
  const past = (play, ...events) => play.hear(...events.map(event => ({ history: play.sent.at(-1).id, ...event })))
  const resumed = events => {
    const play = new Play().live('**', LATEST, 10).hear(bare('a', 15), at(15))
    play.again()
    return past(play, ...events)
  }
  for (const [name, play, expected] of [
    ['left out are no hole', new Play().live('a', LATEST, 10).hear(bare('a', 15), bare('a', 30)), [15, 30]],
    ['older than what was shown are dropped', new Play().live('a', LATEST, 10).hear(bare('a', 15), bare('a', 12), bare('a', 15), bare('a', 16)), [15, 16]],
    ['of another topic may be older', new Play().live('*', LATEST, 10).hear(bare('a', 15), bare('b', 12)), [15, 12], '*'],
    ['from before the subscription are dropped', new Play().live('a', LATEST, 10).hear(bare('a', 9)), []],
    ['of the past are not shown twice', past(new Play().follow('a', { history: 2, ...LATEST }), full('a', 4, 2), full('a', 6, 4))
      .reply(10).hear(bare('a', 6), bare('a', 12)), [4, 6, 12]],
    ['in full for another are no hole either', new Play().live('a', LATEST, 10).hear(bare('a', 15), full('a', 30, 25)), [15, 30]],
    ['missed in full are', new Play().live('a', {}, 10).hear(full('a', 15, 3), full('a', 30, 25)), [15, 'client', 30]],
    ['of the past after a break are the newest of each topic', resumed([bare('b', 18), bare('a', 40)]).reply(50), [15, 18, 40], '**'],
    ['had already are not shown again after a break', resumed([bare('a', 15)]).reply(50), [15], '**'],
    ['that were late at a reply are shown all the same', resumed([]).reply(50).hear(bare('a', 40)), [15, 40], '**'],
    ['of a new log count from its beginning', new Play().live('a', LATEST, 30).hear(bare('a', 31), newLog, bare('a', 2), bare('a', 1)), [31, 'epoch', 2]],
    ['that cannot be had are told', resumed([]).reply(50, { recovered: false }), [15, 'client'], '**'],
  ].map(([name, play, expected, follower = 'a']) => [name, play.heard[follower], expected])) {
    test(name, () => assert.deepEqual(play, expected))
  }
  test('come in full to both where one wants all of the topic', () => {
    const play = new Play().live('cpu/**', HZ_5, 10).live('cpu/load', {}, 20)
    play.hear(full('cpu/load', 25, 8), full('cpu/load', 26, 25), bare('cpu/heat', 24), full('cpu/load', 29, 28))
    assert.deepEqual(play.heard, { 'cpu/**': [25, 26, 24, 29], 'cpu/load': [25, 26, 'client', 29] })
  })
})

describe('two followers of one pattern', () => {
  const two = (first, second) => new Play().live('a', first, 10, 'first').hear(at(12)).follow('a', second, 'second')
  for (const [name, play, expected] of [
    ['the fuller one decides, and the other goes on from its place', two(HZ_5, {}), [
      { subscribe: 'a', ...HZ_5 }, { subscribe: 'a' }, { subscribe: 'a', since: `${E1}.12` },
    ]],
    ['the other way round', two({}, HZ_5), [{ subscribe: 'a' }, { subscribe: 'a' }]],
    ['the same twice', two(HZ_5, HZ_5), [{ subscribe: 'a', ...HZ_5 }, { subscribe: 'a', ...HZ_5 }]],
    ['the fuller one stops', two({}, HZ_5).reply(20).stop('first'), [
      { subscribe: 'a' }, { subscribe: 'a' }, { subscribe: 'a', since: `${E1}.20`, ...HZ_5 },
    ]],
    ['the fuller one stops before its reply', two(HZ_5, {}).stop('second').reply(20), [
      { subscribe: 'a', ...HZ_5 }, { subscribe: 'a' }, { subscribe: 'a', since: `${E1}.12` }, { subscribe: 'a', since: `${E1}.20`, ...HZ_5 },
    ]],
    ['the lesser one stops', two({}, HZ_5).reply(20).stop('second'), [{ subscribe: 'a' }, { subscribe: 'a' }]],
    ['both stop', two(HZ_5, HZ_5).reply(20).stop('first').stop('second'), [
      { subscribe: 'a', ...HZ_5 }, { subscribe: 'a', ...HZ_5 }, { unsubscribe: 'a' },
    ]],
    ['the fuller one is refused', two(HZ_5, LATEST).hear({ reply: 2, error: { code: 'limit', message: 'no' } }).reply(20), [
      { subscribe: 'a', ...HZ_5 }, { subscribe: 'a', ...LATEST }, { subscribe: 'a', since: `${E1}.12`, ...LATEST },
      { subscribe: 'a', since: `${E1}.20`, ...HZ_5 },
    ]],
  ]) test(name, () => assert.deepEqual(play.asked(), expected))
  test('both come back in the fuller form, each from its place', () => {
    const play = two(HZ_5, {}).reply(20, { back: 1 }).reply(20).hear(full('a', 25, 3))
    assert.deepEqual(play.again(), [{ subscribe: 'a', since: `${E1}.25` }, { subscribe: 'a', since: `${E1}.25` }])
    play.reply(25, { back: 1 }).reply(25).hear(full('a', 26, 25))
    assert.deepEqual(play.heard, { first: [25, 26], second: [25, 26] })
  })
})
