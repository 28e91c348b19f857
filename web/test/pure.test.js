// The pure parts of the client, by tables.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { afterClose, backoffMs } from '../public/penstock/backoff.js'
import { Outcome, classify } from '../public/penstock/order.js'
import { matcher, overlap } from '../public/penstock/patterns.js'
import { formatPosition, later, maybePosition } from '../public/penstock/position.js'
import { Kind, parseFrame } from '../public/penstock/protocol.js'
import { Silence } from '../public/penstock/silence.js'
import { State, describe as inWords } from '../public/penstock/states.js'

const E1 = '00000000000000e1'
const E2 = '00000000000000e2'

describe('classify', () => {
  for (const [name, last, event, outcome] of [
    ['the next one', 3, { seq: 5, prev: 3 }, Outcome.NEXT],
    ['the first since the start', 3, { seq: 9, prev: 1 }, Outcome.NEXT],
    ['the same again', 3, { seq: 3, prev: 1 }, Outcome.DUPLICATE],
    ['an older one', 3, { seq: 2, prev: 1 }, Outcome.DUPLICATE],
    ['one was missed', 3, { seq: 9, prev: 7 }, Outcome.HOLE],
    ['skipped on purpose', 3, { seq: 9 }, Outcome.NEXT],
    ['the first of a topic: its prev is what retention forgot', 3, { seq: 9, prev: 7, nth: 1 }, Outcome.NEXT],
    ['nothing known yet', null, { seq: 9, prev: 7 }, Outcome.NEXT],
  ]) test(name, () => assert.equal(classify(last, event), outcome))
})

describe('matcher', () => {
  for (const [pattern, topic, expected] of [
    ['a/b', 'a/b', true], ['a/b', 'a/bc', false], ['a/*', 'a/b', true], ['a/*', 'a', false], ['a/*', 'a/b/c', false],
    ['a/**', 'a/b/c', true], ['a/**', 'a', false], ['**', 'a', true], ['**', 'a/b', true], ['**', '$broker/beat', false],
    ['*', '$x', false], ['$broker/*', '$broker/beat', true], ['*/b', 'a/b', true], ['a.c', 'abc', false],
    ['*/**', 'a', false], ['*/**', 'a/b', true],
  ]) test(`${pattern} and ${topic}`, () => assert.equal(matcher(pattern)(topic), expected))
})

describe('overlap', () => {
  for (const [a, b, expected] of [
    ['**', 'a', true], ['a', 'a', true], ['a', 'b', false], ['a/**', 'a', false], ['a/**', 'a/b', true], ['a/*', '*/b', true],
    ['a/*', 'a/b/c', false], ['a/**', '*/b/c', true], ['**', '$broker/beat', false], ['$broker/**', '$broker/beat', true],
  ]) {
    test(`${a} and ${b}`, () => {
      assert.equal(overlap(a, b), expected)
      assert.equal(overlap(b, a), expected)
    })
  }
})

describe('positions', () => {
  for (const [name, text, expected] of [
    ['sound', `${E1}.12`, { epoch: E1, seq: 12 }],
    ['the beginning', `${E1}.0`, { epoch: E1, seq: 0 }],
    ['beyond 2**53', `${E1}.9007199254740993`, null],
    ['short epoch', 'e1.12', null],
    ['no number', `${E1}.`, null],
    ['a leading zero', `${E1}.012`, null],
    ['no text', 12, null],
  ]) test(name, () => assert.deepEqual(maybePosition(text), expected))
  test('there and back', () => assert.equal(formatPosition(maybePosition(`${E1}.12`)), `${E1}.12`))
  for (const [name, a, b, expected] of [
    ['of one log, the larger seq', `${E1}.5`, `${E1}.3`, `${E1}.5`],
    ['of two logs, the newer news', `${E1}.5`, `${E2}.3`, `${E2}.3`],
    ['nothing before', null, `${E1}.3`, `${E1}.3`],
    ['nothing new', `${E1}.3`, null, `${E1}.3`],
  ]) test(name, () => assert.deepEqual(later(maybePosition(a), maybePosition(b)), maybePosition(expected)))
})

describe('parseFrame', () => {
  const event = { topic: 'a', seq: 4, prev: 2, nth: 2, time: 1.5, data: { v: 1 } }
  for (const [name, frame, expected] of [
    ['an event', JSON.stringify(event), [{ kind: Kind.EVENT, subscription: null, event }]],
    ['history', JSON.stringify({ history: 7, ...event }), [{ kind: Kind.EVENT, subscription: 7, event }]],
    ['several in one frame', '{"at":"00000000000000e1.4"}\n{"notice":{"code":"slow"}}\n', [
      { kind: Kind.AT, position: { epoch: E1, seq: 4 } }, { kind: Kind.NOTICE, notice: { code: 'slow' } },
    ]],
    ['a reply', '{"reply":3,"ok":{"recovered":true}}', [{ kind: Kind.REPLY, id: 3, ok: { recovered: true }, error: null }]],
    ['a refusal', '{"reply":3,"error":{"code":"forbidden","message":"no"}}', [
      { kind: Kind.REPLY, id: 3, ok: null, error: { code: 'forbidden', message: 'no' } },
    ]],
    ['a gap', `{"gap":{"pattern":"a","after":"${E1}.1","before":"${E1}.4","lost":2,"cause":"late"}}`, [{
      kind: Kind.GAP, subscription: null,
      gap: { pattern: 'a', after: { epoch: E1, seq: 1 }, before: { epoch: E1, seq: 4 }, cause: 'late', lost: 2 },
    }]],
    ['a beat', '{"beat":true}', [{ kind: Kind.BEAT }]],
    ['a welcome before the broker was heard', '{"welcome":{"position":null,"gateway":"g"}}', [
      { kind: Kind.WELCOME, position: null, welcome: { position: null, gateway: 'g' } },
    ]],
  ]) test(name, () => assert.deepEqual(parseFrame(frame), expected))
  for (const line of ['{', 'null', '12', '{}', '{"topic":"a"}', '{"topic":"a","seq":1e30,"prev":0}', '{"at":"x"}', '{"gap":{}}', '{"reply":"x"}']) {
    test(`unknown: ${line}`, () => assert.deepEqual(parseFrame(line).map(({ kind }) => kind), [Kind.UNKNOWN]))
  }
})

describe('coming back', () => {
  const half = () => 0.5
  for (const [name, close, attempt, expected] of [
    ['first', { code: 1006, reason: '' }, 0, { comesBack: true, delayMs: 250 }],
    ['fourth', { code: 1006, reason: '' }, 3, { comesBack: true, delayMs: 2_000 }],
    ['at most 30 s', { code: 1006, reason: '' }, 40, { comesBack: true, delayMs: 15_000 }],
    ['draining, as the gateway drew it', { code: 1012, reason: 'draining, come back in 1.3 s' }, 9, { comesBack: true, delayMs: 1_300 }],
    ['draining for ever', { code: 1012, reason: '3600 s' }, 0, { comesBack: true, delayMs: 30_000 }],
    ['draining, no word when', { code: 1012, reason: '' }, 0, { comesBack: true, delayMs: 250 }],
    ['too slow', { code: 4408, reason: '' }, 0, { comesBack: true, delayMs: 250 }],
    ['token expired', { code: 4401, reason: '' }, 0, { comesBack: false, why: 'token missing or expired' }],
    ['forbidden', { code: 4403, reason: 'topic a' }, 0, { comesBack: false, why: 'topic a' }],
  ]) test(name, () => assert.deepEqual(afterClose(close, attempt, half), expected))
  test('no delay at all is in the range of full jitter', () => assert.equal(backoffMs(5, () => 0), 0))
})

describe('silence', () => {
  /** What the looks find, in short: `look` looks when it is due, `late` so many ms after that, `hear` hears, `doubt` doubts. */
  const run = steps => {
    const silence = new Silence(0)
    const found = []
    let nowMs = 0
    let { dueMs } = silence.look(nowMs)
    for (const [step, ms] of steps) {
      nowMs = step === 'look' ? dueMs : step === 'late' ? dueMs + ms : ms
      if (step === 'hear' && !silence.heard(nowMs)) continue
      if (step === 'doubt') silence.doubt(nowMs)
      const { asks, isSilent, isLost, dueMs: next } = silence.look(nowMs)
      dueMs = next
      found.push(`${nowMs}${asks ? ' asks' : ''}${isLost ? ' lost' : isSilent ? ' silent' : ''}`)
    }
    return found
  }
  for (const [name, steps, expected] of [
    ['is asked, told and given up in time', [['look'], ['look'], ['look']], ['4000 asks', '5500 silent', '12000 lost']],
    ['who says something is not asked', [['hear', 3_000], ['look'], ['look']], ['4000', '7000 asks']],
    ['an answer ends it', [['look'], ['hear', 4_200], ['look']], ['4000 asks', '4200', '8200 asks']],
    ['and so it does late', [['look'], ['look'], ['hear', 11_000], ['look']], ['4000 asks', '5500 silent', '11000', '15000 asks']],
    ['after a doubt it is asked at once', [['doubt', 1_000], ['look'], ['look']], ['1000 asks', '2500 silent', '9000 lost']],
    ['a doubt asks again', [['look'], ['doubt', 4_500], ['look']], ['4000 asks', '4500 asks', '5500 silent']],
    ['who stood still asks first', [['late', 3_600_000], ['look'], ['look']], ['3604000 asks', '3605500 silent', '3612000 lost']],
    ['and again, if it had asked before', [['look'], ['late', 60_000], ['look']], ['4000 asks', '65500 asks', '67000 silent']],
    ['but where every look is late an answer would have come', [['late', 60_000], ['late', 60_000]], ['64000 asks', '125500 lost']],
  ]) test(name, () => assert.deepEqual(run(steps), expected))
})

describe('states in words', () => {
  for (const [state, expected] of [
    [{ name: State.CONNECTING }, 'Connecting...'],
    [{ name: State.CONNECTED, transport: 'websocket', stale: false }, 'Connected: websocket'],
    [{ name: State.CONNECTED, transport: 'websocket', stale: true }, 'Connected: websocket (broker silent)'],
    [{ name: State.CONNECTED, transport: 'websocket', stale: false, slow: true }, 'Connected: websocket (behind)'],
    [{ name: State.CONNECTED, transport: 'sse', stale: true, slow: true }, 'Connected: sse (broker silent)'],
    [{ name: State.CONNECTED, transport: 'websocket', stale: true, slow: false, silentSinceMs: -4_700 }, 'No answer for 5 s'],
    [{ name: State.WAITING, dueMs: 3_200, attempt: 2 }, 'Reconnecting in 3 s'],
    [{ name: State.ERROR, why: 'forbidden' }, 'Error: forbidden'],
    [{ name: State.CLOSED }, 'Closed'],
  ]) test(expected, () => assert.equal(inWords(state, 1_000), expected))
})
