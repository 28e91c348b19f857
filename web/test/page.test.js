// The pure parts of the page, by tables.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ServerClock } from '../public/page/clock.js'
import { numbersIn } from '../public/page/fields.js'
import { ago, axisMarks, compact, counted, latency, perSecond } from '../public/page/format.js'
import { Lag, lagInWords } from '../public/page/lag.js'
import { filling, trace } from '../public/page/line.js'
import { OwnClock } from '../public/page/own_clock.js'
import { Pace } from '../public/page/pace.js'
import { pointed } from '../public/page/pointed.js'
import { extent, follow } from '../public/page/range.js'
import { ranked, search } from '../public/page/ranking.js'
import { Rate } from '../public/page/rate.js'
import { Series } from '../public/page/series.js'
import { Topic, holesInWords } from '../public/page/topic.js'
import { labelled, measured } from '../public/page/units.js'
import { View } from '../public/page/view.js'

describe('numbersIn', () => {
  for (const [name, data, expected] of [
    ['flat', { a: 1, b: 2.5 }, [['a', 1], ['b', 2.5]]],
    ['nested', { a: { b: 1, c: { d: 2 } } }, [['a.b', 1], ['a.c.d', 2]]],
    ['an array', [1, 2], [['0', 1], ['1', 2]]],
    ['a number alone', 7, [['value', 7]]],
    ['its own time axis', { x: 1_790_000_000_000, y: 2.5 }, [['y', 2.5]]],
    ['x alone is a value', { x: 3 }, [['x', 3]]],
    ['no numbers', { a: 'x', b: null, c: true }, []],
    ['not drawable', { a: Infinity, b: 1e308, c: NaN, d: 1 }, [['d', 1]]],
    ['null', null, []],
  ]) test(name, () => assert.deepEqual(numbersIn(data), expected))
  test('depth has an end', () => {
    assert.deepEqual(numbersIn(JSON.parse('{"a":'.repeat(60) + '1' + '}'.repeat(60))), [])
  })
})

describe('labelled', () => {
  for (const [name, label, unit] of [
    ['read_kib_s', 'read', 'KiB/s'], ['available_mib', 'available', 'MiB'], ['used', 'used', ''], ['time_s', 'time', 's'],
    ['http.wait_ms', 'http.wait', 'ms'], ['s', 's', ''],
  ]) test(name, () => assert.deepEqual(labelled(name), { label, unit }))
  for (const [topic, name, unit] of [
    ['system/h/cpu', 'core0', '%'], ['system/h/memory', 'used', '%'], ['system/h/memory', 'available_mib', 'MiB'],
    ['system/h/disk', 'used', ''], ['my/cpu', 'core0', ''],
  ]) test(`${name} of ${topic}`, () => assert.equal(labelled(name, topic).unit, unit))
})

describe('measured', () => {
  const [kib, mib] = [1024, 1024 ** 2]
  for (const [name, unit, range, expected] of [
    ['four digits', 'MiB', [0, 9_999], { divisor: 1, unit: 'MiB', power: '' }],
    ['MiB as GiB', 'MiB', [9_000, 22_600], { divisor: kib, unit: 'GiB', power: '' }],
    ['below zero', 'MiB', [-22_600, 0], { divisor: kib, unit: 'GiB', power: '' }],
    ['KiB/s as MiB/s', 'KiB/s', [0, 22_600], { divisor: kib, unit: 'MiB/s', power: '' }],
    ['as often as it takes', 'KiB/s', [0, 22_600_000], { divisor: mib, unit: 'GiB/s', power: '' }],
    ['there is an end', 'TiB', [0, 22_600], { divisor: 1, unit: 'TiB', power: '' }],
    ['no bytes', 'ms', [0, 22_600], { divisor: 1, unit: 'ms', power: '' }],
    ['no unit', '', [0, 22_600], { divisor: 1, unit: '', power: '' }],
    ['far too large', '', [0, 3.3e19], { divisor: 1e19, unit: '', power: 'e19' }],
  ]) test(name, () => assert.deepEqual(measured(unit, range), expected))
})

describe('format', () => {
  for (const [value, expected] of [
    [0, '0'], [5, '5'], [2.5, '2.50'], [12.34, '12.3'], [123.4, '123'], [9999, '9999'], [12_345, '12.3k'], [-12_345, '-12.3k'],
    [4_456_000, '4.46M'], [7e9, '7.00G'], [3e12, '3.00T'], [1e15, '1e15'], [3.3e19, '3.3e19'], [0.0001, '1e-4'], [NaN, '–'], [undefined, '–'],
  ]) test(`compact ${value}`, () => assert.equal(compact(value), expected))
  for (const [splits, expected] of [
    [[0, 1, 2], ['0', '1', '2']],
    [[0, 0.25, 0.5], ['0', '0.25', '0.50']],
    [[39, 39.05, 39.1], ['39.00', '39.05', '39.10']],
    [[0, 2.5, 5], ['0', '2.5', '5.0']],
    [[0, 5000, 10_000], ['0', '5k', '10k']],
    [[-1, 0, 1], ['-1', '0', '1']],
    [[0, 1e300], ['0', '1e300']],
    [[5], ['5']],
    [[1_000_000, 1_000_002], ['1000000', '1000002']],
    [[1_000_000, 1_001_000], ['1.000M', '1.001M']],
  ]) test(`marks ${splits}`, () => assert.deepEqual(axisMarks(splits), expected))
  for (const [s, expected] of [[5, '5 s ago'], [240, '4 m ago'], [7200, '2 h ago'], [400_000, '5 d ago']]) {
    test(expected, () => assert.equal(ago(s), expected))
  }
  for (const [s, expected] of [[0.0124, '12 ms'], [0.9994, '999 ms'], [2.44, '2.4 s'], [NaN, '–']]) {
    test(`latency ${s}`, () => assert.equal(latency(s), expected))
  }
  for (const [rate, expected] of [[0, ''], [2, '2.0/s'], [19.8, '20/s'], [12_000, '12.0k/s']]) {
    test(`rate ${rate}`, () => assert.equal(perSecond(rate), expected))
  }
  test('counted', () => assert.deepEqual([counted(1, 'event'), counted(1204, 'event')], ['1 event', '1,204 events']))
})

describe('Series', () => {
  const filled = (rows, mostRows) => {
    const series = new Series(mostRows)
    for (let n = 0; n < rows; n++) series.push(n / 10, [['a', n]], false)
    return series
  }
  for (const [name, rows, mostRows, from, to, first, last] of [
    ['the window and a row on each side', 100, 1000, 2, 3, 20, 31],
    ['all of it', 100, 1000, -5, 50, 0, 99],
    ['before it', 100, 1000, -5, -1, 0, 0],
    ['after it', 100, 1000, 20, 30, 99, 99],
    ['after growing', 3000, 16_384, 100, 100.1, 1000, 1002],
    ['after wrapping many times', 100_000, 500, 9_990, 9_999, 99_900, 99_991],
  ]) {
    test(name, () => {
      const { values: [a] } = filled(rows, mostRows).window(from, to)
      assert.deepEqual([a.at(0), a.at(-1)], [first, last])
    })
  }
  test('keeps no more rows than allowed, nor older ones than can be shown', () => {
    assert.ok(filled(10_000, 500).length <= 1000)
    assert.ok(filled(100_000, 16_384).length <= 2 * 3_200)
  })
  test('a field that comes later has no value before', () => {
    const series = new Series()
    series.push(1, [['a', 1]], false)
    series.push(2, [['b', 2]], false)
    assert.deepEqual(series.window(0, 9).values.map(values => [...values]), [[1, NaN], [NaN, 2]])
  })
  for (const [name, rows, toS, expected] of [
    ['the last ones', [[1, [['a', 1]]], [2, [['a', 2]]]], 9, [2]],
    ['up to a time', [[1, [['a', 1]]], [2, [['a', 2]]]], 1.5, [1]],
    ['each field its own', [[1, [['a', 1]]], [2, [['b', 2]]]], 9, [1, 2]],
    ['before the first', [[1, [['a', 1]]]], 0, [NaN]],
  ]) {
    test(`levels: ${name}`, () => {
      const series = new Series()
      for (const [timeS, numbers] of rows) series.push(timeS, numbers, false)
      assert.deepEqual(series.levels(toS), expected)
    })
  }
  test('takes at most 20 fields', () => {
    const series = new Series()
    series.push(1, Array.from({ length: 134 }, (_, n) => [`f${n}`, n]), false)
    assert.equal(series.fields.length, 20)
  })
  test('stays in order when the clock steps back, and starts anew when it jumps', () => {
    const series = new Series()
    for (const timeS of [10, 9.5, 11]) series.push(timeS, [['a', timeS]], false)
    assert.deepEqual([...series.window(0, 99).times], [10, 10, 11])
    series.push(5, [['a', 5]], false)
    assert.deepEqual([...series.window(0, 99).times], [5])
  })
})

describe('y range', () => {
  for (const [name, range, data, expected] of [
    ['nothing yet', null, null, [0, 1]],
    ['from zero', null, [0, 5], [0, 5.5]],
    ['near zero', null, [20, 100], [0, 108]],
    ['far from zero', null, [100, 110], [99, 111]],
    ['below zero', null, [-10, -1], [-10.9, 0]],
    ['across zero', null, [-10, 10], [-12, 12]],
    ['constant', null, [50, 50], [45, 55]],
    ['constant zero', null, [0, 0], [0, 1]],
    ['stays while it fits', [0, 5.5], [0, 4], [0, 5.5]],
    ['grows at once', [0, 5.5], [0, 6], [0, 6.6]],
    ['shrinks when far too large', [0, 100], [0, 5], [0, 5.5]],
    ['keeps what it had', [0, 7], null, [0, 7]],
  ]) test(name, () => assert.deepEqual(follow(range, data).map(value => Number(value.toFixed(6))), expected))
  test('extent of what there is', () => assert.deepEqual(extent([[NaN, 3], [NaN, -1]]), [-1, 3]))
  test('extent of nothing', () => assert.equal(extent([[NaN]]), null))
})

describe('trace', () => {
  const drawn = (times, values, breaks) => {
    const moves = []
    const pen = Object.fromEntries([['moveTo', 'M'], ['lineTo', 'L'], ['dot', 'O']]
      .map(([move, mark]) => [move, (x, y) => moves.push(`${mark}${x},${y}`)]))
    trace(pen, { times, values, breaks: breaks ?? times.map(() => 0) }, x => x, y => y)
    return moves.join(' ')
  }
  for (const [name, args, expected] of [
    ['a line', [[1, 2, 3], [1, 5, 2]], 'M1,1 L2,5 L3,2'],
    ['never across a hole', [[1, 2, 3, 4], [1, 5, 2, 3], [0, 0, 1, 0]], 'M1,1 L2,5 M3,2 L4,3'],
    ['over a missing value', [[1, 2, 3], [1, NaN, 2]], 'M1,1 L3,2'],
    ['a hole at a missing value', [[1, 2, 3], [1, NaN, 2], [0, 1, 0]], 'M1,1 O1,1 M3,2 O3,2'],
    ['both ends of a full column', [[1, 1.2, 1.4, 1.6, 2], [3, 9, 0, 4, 5]], 'M1,3 L1,0 L1,9 L1,4 L2,5'],
    ['one alone', [[1], [5]], 'M1,5 O1,5'],
    ['one alone between holes', [[1, 2, 3, 4, 5], [1, 1, 5, 2, 2], [0, 0, 1, 1, 0]], 'M1,1 L2,1 M3,5 O3,5 M4,2 L5,2'],
    ['one alone at the end', [[1, 2, 3], [1, 1, 5], [0, 0, 1]], 'M1,1 L2,1 M3,5 O3,5'],
    ['some alone at one place', [[1, 1.2], [5, 5]], 'M1,5 O1,5'],
    ['some alone in one column', [[1, 1.2], [5, 6]], 'M1,5 L1,5 L1,6 L1,6'],
    ['nothing', [[], []], ''],
  ]) test(name, () => assert.equal(drawn(...args), expected))
  test('fills each stretch down to the floor', () => {
    const moves = []
    const ignored = { moveTo() {}, lineTo() {}, dot() {} }
    const area = { moveTo: (x, y) => moves.push(`M${x},${y}`), lineTo: (x, y) => moves.push(`L${x},${y}`) }
    const pen = filling(ignored, area, 10)
    trace(pen, { times: [1, 2, 3], values: [4, 5, 6], breaks: [0, 0, 1] }, x => x, y => y)
    pen.finish()
    assert.equal(moves.join(' '), 'M1,10 L1,4 L2,5 L2,10 M3,10 L3,6 L3,10')
  })
})

describe('Topic', () => {
  const event = (nth, time, data) => ({ topic: 'a', seq: nth, prev: nth - 1, nth, time, data })
  const fed = (...events) => {
    const topic = new Topic('a')
    for (const one of events) one === 'tear' ? topic.tear() : topic.take(one)
    return topic
  }
  for (const [name, topic, expected] of [
    ['no hole', fed(event(1, 10, 1), event(2, 11, 1)), []],
    ['a hole', fed(event(1, 10, 1), event(5, 11, 1)), [{ fromS: 10, toS: 11, lost: 3, isSpared: false }]],
    ['forgotten in between, and counted anew', fed(event(7, 10, 1), { ...event(1, 11, 1), seq: 30 }), []],
    ['the first is no hole', fed(event(77, 10, 1)), []],
    ['a new log', fed(event(7, 10, 1), 'tear', event(1, 12, 1)), [{ fromS: 10, toS: 12, lost: null, isSpared: false }]],
    ['a new log, and nothing was known', fed('tear', event(1, 12, 1)), []],
  ]) {
    test(name, () => {
      assert.deepEqual(topic.holes, expected)
      assert.equal(topic.series.window(0, 99).breaks.at(-1), expected.length)
    })
  }
  const spared = (...events) => {
    const topic = new Topic('a')
    return { topic, counts: events.map(one => topic.take(one, true)) }
  }
  for (const [name, { topic, counts }, expectedCounts, expectedHoles] of [
    ['a sample stands for those left out', spared(event(1, 10, 1), event(6, 10.5, 1), event(7, 10.6, 1)), [1, 5, 1], []],
    ['one alone', spared(event(77, 10, 1)), [1], []],
    ['too far apart for a line', spared(event(1, 10, 1), event(6, 12, 1)), [1, 1], [{ fromS: 10, toS: 12, lost: 4, isSpared: true }]],
    ['far apart, and nothing was left out', spared(event(1, 10, 1), event(2, 12, 1)), [1, 1], []],
    ['what it has had already', spared(event(1, 10, 1), event(6, 10.5, 1), event(6, 10.5, 1), event(4, 10.3, 1), event(7, 10.6, 1)), [1, 5, 0, 0, 1], []],
  ]) {
    test(`spared: ${name}`, () => {
      assert.deepEqual(counts, expectedCounts)
      assert.deepEqual(topic.holes, expectedHoles)
      assert.equal(topic.rate.at(15.9), counts.reduce((sum, count) => sum + count, 0) / 5)
    })
  }
  test('whole again after it was spared: no hole, and nothing twice', () => {
    const { topic } = spared(event(1, 10, 1), event(6, 10.5, 1), event(9, 10.8, 1))
    assert.deepEqual([7, 8, 9, 10, 11].map(nth => topic.take(event(nth, 10 + nth / 10, 1))), [0, 0, 0, 1, 1])
    assert.deepEqual(topic.holes, [])
  })
  for (const [name, one, expected] of [
    ['text', { text: 'hello' }, 'hello'],
    ['a JSON string', { data: 'hello' }, 'hello'],
    ['an object', { data: { a: 'b' } }, '{"a":"b"}'],
    ['null', { data: null }, 'null'],
    ['bytes', { base64: 'AAE=' }, 'base64: AAE='],
    ['long', { text: 'x'.repeat(9_000) }, `${'x'.repeat(2_000)}...`],
  ]) {
    test(`words: ${name}`, () => {
      const topic = new Topic('a')
      topic.take({ topic: 'a', seq: 1, prev: 0, nth: 1, time: 1, ...one })
      assert.equal(topic.words(), expected)
      assert.equal(topic.isNumeric, false)
    })
  }
  const word = (nth, time) => ({ ...event(nth, time), data: `w${nth}` })
  test('keeps the last ten lines, newest last', () => {
    const topic = fed(...Array.from({ length: 15 }, (_, n) => word(n + 1, n)))
    assert.equal(topic.words(), [6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map(n => `w${n}`).join('\n'))
  })
  for (const [name, topic, fromS, expected] of [
    ['numbers only', fed(event(1, 10, 1)), 0, false],
    ['words after numbers', fed(event(1, 10, 1), word(2, 11)), 0, true],
    ['words after numbers, long ago', fed(event(1, 10, 1), word(2, 11)), 90, true],
    ['words between numbers', fed(word(1, 10), event(2, 11, 1)), 0, true],
    ['words before numbers, long ago', fed(word(1, 10), event(2, 11, 1)), 90, false],
  ]) test(`says something: ${name}`, () => assert.equal(topic.saysSomething(fromS), expected))
  test('draws by the clock of the producer, holes too', () => {
    const at = (nth, time, x) => event(nth, time, { x: x * 1000, y: 1 })
    const topic = fed(at(1, 1000, 1000), at(2, 1000.3, 1000.1), at(9, 1001, 1000.9))
    assert.deepEqual([...topic.series.window(0, 9e9).times].map(timeS => timeS.toFixed(1)), ['1000.0', '1000.1', '1000.9'])
    assert.deepEqual(topic.holes.map(({ fromS, toS }) => [fromS.toFixed(1), toS.toFixed(1)]), [['1000.1', '1000.9']])
    assert.equal(topic.lastS, 1001)
  })
  for (const [holes, expected] of [
    [[], ''],
    [[{ lost: 1, isSpared: false }], 'gap: 1 event lost'],
    [[{ lost: 300, isSpared: false }, { lost: null, isSpared: false }, { lost: 1000, isSpared: false }], 'gap: 1,300 events lost'],
    [[{ lost: null, isSpared: false }], 'gap: the log began anew'],
    [[{ lost: 300, isSpared: true }], 'gap: 300 events skipped'],
    [[{ lost: 300, isSpared: true }, { lost: 1, isSpared: false }], 'gap: 1 event lost and 300 events skipped'],
  ]) test(expected || 'no holes, no words', () => assert.equal(holesInWords(holes), expected))
})

describe('OwnClock', () => {
  const run = events => {
    const clock = new OwnClock()
    return events.map(([data, timeS]) => Number(clock.at(data, timeS).toFixed(2)))
  }
  const x = (s, timeS) => [{ x: s * 1000, y: 1 }, timeS]
  for (const [name, events, expected] of [
    ['none', [[{ y: 1 }, 1000], [7, 1001], [null, 1002], [undefined, 1003]], [1000, 1001, 1002, 1003]],
    ['not a time', [x(3, 1000), [{ x: '1000000' }, 1001]], [1000, 1001]],
    ['more than a minute off', [x(1061, 1000), x(939, 1000)], [1000, 1000]],
    ['what waited is drawn where it was measured', [x(1000, 1000), x(1000.1, 1000.6), x(1000.2, 1000.61)], [1000, 1000.1, 1000.2]],
    ['a producer whose clock is behind', [x(970, 1000), x(970.1, 1000.3)], [1000, 1000.1]],
    ['a producer whose clock is ahead', [x(1030, 1000.2), x(1030.1, 1000.1), x(1030.2, 1000.4)], [1000.2, 1000.1, 1000.2]],
    ['two clocks on one topic', [x(1000, 1000), x(980, 1000.1), x(1000.2, 1000.2)], [1000, 1000.1, 1000.2]],
  ]) test(name, () => assert.deepEqual(run(events), expected))
})

describe('pointed', () => {
  const rows = { times: [10, 11, 12, 20, 21], breaks: [0, 0, 0, 1, 0] }
  for (const [name, row, timeS, expected] of [
    ['on a row', 1, 11, 1], ['on the line', 1, 11.4, 1], ['on the line, the other way', 2, 11.6, 2],
    ['just before the first', 0, 9.9, 0], ['before the first', 0, 5, null], ['just after the last', 4, 21.1, 4],
    ['after the last', 4, 25, null], ['in a hole', 2, 14, null], ['in a hole, the other way', 3, 18, null],
    ['no row', null, 14, null], ['a row that is gone', 9, 14, null],
  ]) test(name, () => assert.equal(pointed(rows, row, timeS, 0.2), expected))
})

describe('ranking', () => {
  const topic = (name, perS, lastS) => {
    const made = new Topic(name)
    for (let n = 0; n < perS * 10; n++) {
      made.take({ topic: name, seq: n + 1, prev: n, nth: n + 1, time: lastS - 10 + (n + 1) / perS, data: 1 })
    }
    return made
  }
  test('active first, then busy, then by name', () => {
    const topics = [topic('old', 50, 100), topic('b', 2, 1000), topic('busy', 20, 1000), topic('a', 2, 1000)]
    assert.deepEqual(ranked(topics, 1000).map(({ name }) => name), ['busy', 'a', 'b', 'old'])
  })
  for (const [text, name, expected] of [
    ['', 'a', true], ['CPU', 'system/h/cpu', true], [' cpu ', 'system/h/cpu', true], ['mem', 'system/h/cpu', false],
    ['system/**', 'system/h/cpu', true], ['*/cpu', 'system/h/cpu', false],
    ['b*', 'bare', true], ['b*', 'burst', true], ['B*', 'burst', true], ['b*', 'ab', false], ['b*', 'b/c', false], ['b*', 'b', true],
    ['sys*/**', 'system/h/cpu', true], ['*/*/c*u', 'system/h/cpu', true], ['a*a', 'a', false], ['a*b*c', 'axxbxxc', true],
    ['a*bb*b', 'abb', false], ['*', '$x', false], ['$b*/beat', '$broker/beat', true], ['**', 'a/b', true],
  ]) test(`search ${text} in ${name}`, () => assert.equal(search(text)(name), expected))
})

describe('Rate', () => {
  for (const [name, times, nowS, expected] of [
    ['nothing', [], 100, 0],
    ['two a second', [95, 95.5, 96, 96.5, 97, 97.5, 98, 98.5, 99, 99.5], 100.2, 2],
    ['the current second does not count', [100, 100.1, 100.2], 100.5, 0],
    ['silent since', [1, 2, 3], 100, 0],
    ['late ones count', [99, 97], 100, 0.4],
    ['too late ones do not', [99, 50], 100, 0.2],
    ['one can stand for several', [[99, 10]], 100, 2],
  ]) {
    test(name, () => {
      const rate = new Rate()
      for (const one of times) rate.add(...[one].flat())
      assert.equal(rate.at(nowS), expected)
    })
  }
})

describe('ServerClock', () => {
  test('guesses until it is told', () => {
    const clock = new ServerClock(5_000)
    assert.deepEqual([clock.nowS(1_000), clock.errorS(1_000)], [6, Infinity])
    clock.add({ rttMs: 4, serverMs: 10_000 }, 2)
    assert.deepEqual([clock.nowS(1_000), clock.errorS(2), clock.errorS(10_002)], [11, 0.003, 0.004])
  })
  // [round trip, how much the server's clock is ahead as the answer has it, our clock], all in milliseconds
  for (const [name, answers, aheadMs] of [
    ['the quickest answer', [[4, 10_000, 0], [400, 10_150, 5_000]], 10_000],
    ['a quicker one', [[400, 10_150, 0], [4, 10_000, 5_000]], 10_000],
    ['however slow the connection has become', [[4, 10_000, 0], ...Array.from({ length: 100 }, (_, n) => [4_000, 8_100, 5_000 * n])], 10_000],
    ['as clocks drift, in the end a new one', [[4, 10_000, 0], [40, 10_010, 600_000]], 10_010],
    ['a clock that was set', [[4, 10_000, 0], [400, 3_600_000, 5_000]], 3_600_000],
    ['a clock that was set, and the quickest since', [[4, 10_000, 0], [400, 3_600_000, 5_000], [40, 3_600_100, 6_000], [50, 3_600_080, 7_000]], 3_600_100],
  ]) {
    test(`believes ${name}`, () => {
      const clock = new ServerClock(0)
      for (const [rttMs, offsetMs, nowMs] of answers) clock.add({ rttMs, serverMs: nowMs + offsetMs - rttMs / 2 }, nowMs)
      assert.equal(clock.nowS(0), aheadMs / 1000)
    })
  }
})

describe('Lag', () => {
  const after = (ages, everyMs = 1) => {
    const lag = new Lag()
    ages.forEach((ageS, n) => lag.add(ageS, n * everyMs))
    return lag
  }
  for (const [name, ages, nowMs, half, most] of [
    ['nothing', [], 0, NaN, NaN],
    ['one', [0.02], 0, 0.02, 0.02],
    ['some', [0.5, 0.01, 0.03, 0.02], 10, 0.02, 0.5],
    ['none is negative', [-0.5], 0, 0, 0],
    ['only of the last two seconds', [9, 0.01], 2_001, 0.01, 0.01],
    ['and at most a thousand', [...Array(1_024).fill(9), ...Array(1_024).fill(0.01)], 2_048, 0.01, 0.01],
  ]) {
    test(`the age of ${name}`, () => {
      const lag = after(ages)
      assert.deepEqual([lag.ageS(0.5, nowMs), lag.ageS(0.99, nowMs)], [half, most])
    })
  }
  test('is behind from two seconds on, until it is clearly less', () => {
    const lag = new Lag()
    const found = [0.1, 1.9, 2.1, 1.5, 1.1, 0.9, 1.5, 2.1].map((ageS, n) => {
      lag.add(ageS, n * 10_000)
      return lag.isBehind(n * 10_000, 0)
    })
    assert.deepEqual(found, [false, false, true, true, true, false, false, true])
    assert.equal(lag.isBehind(999_999, 0), false, 'nothing comes, so nothing is late')
    lag.add(3, 1_000_000)
    assert.deepEqual([lag.isBehind(1_000_000, 1.5), lag.isBehind(1_000_000, 0.5)], [false, true], 'only what is certain')
  })
  for (const [found, expected] of [
    [{ behindS: null, isSpared: false }, null],
    [{ behindS: 2.44, isSpared: false }, 'Behind by 2.4 s - catching up'],
    [{ behindS: 2.44, isSpared: true }, 'Behind by 2.4 s - skipping'],
    [{ behindS: null, isSpared: true }, 'Connected: websocket - skipping'],
  ]) test(`in words: ${expected}`, () => assert.equal(lagInWords(found, 'Connected: websocket'), expected))
})

describe('Pace', () => {
  /** Looks once a second; 'b' is behind, 's' had events left out, '-' neither, 'x' both. */
  const run = looks => {
    const pace = new Pace()
    const changes = []
    const told = [...looks].flatMap(look => {
      const [, times, mark] = /^(\d*)(.)$/.exec(look) ?? []
      return Array(Number(times || 1)).fill(mark)
    })
    told.forEach((mark, second) => {
      if ('sx'.includes(mark)) pace.spared(second * 1_000)
      if (pace.turn('bx'.includes(mark), second * 1_000)) changes.push([second, pace.isSpared])
    })
    return changes
  }
  for (const [name, looks, expected] of [
    ['everything while it keeps up', ['99-'], []],
    ['everything through a short backlog', ['9-', '2b', '9-', '2b', '9-'], []],
    ['less after two seconds behind', ['9-', '3b'], [[11, true]]],
    ['less while it is behind', ['3b', '600x'], [[2, true]]],
    ['everything when nothing was left out for ten seconds', ['3b', '5x', '30-'], [[2, true], [17, false]]],
    ['everything again after half a minute', ['3b', '60s'], [[2, true], [32, false]]],
    ['too early, so a minute', ['3b', '30s', '3b', '70s'], [[2, true], [32, false], [35, true], [95, false]]],
    ['and two', ['3b', '30s', '3b', '60s', '3b', '130s'], [[2, true], [32, false], [35, true], [95, false], [98, true], [218, false]]],
    ['half a minute, if it went well for a while', ['3b', '30s', '3b', '60s', '90-', '3b', '40s'],
      [[2, true], [32, false], [35, true], [95, false], [188, true], [218, false]]],
  ]) test(`asks for ${name}`, () => assert.deepEqual(run(looks), expected))
  test('says what it asks for', () => {
    const pace = new Pace()
    assert.equal(pace.delivery, 'all')
    for (const nowMs of [0, 2_000]) pace.turn(true, nowMs)
    assert.deepEqual(pace.delivery, { hz: 10 })
  })
})

describe('View', () => {
  test('slides, stands still, and counts what it missed', () => {
    const view = new View(10)
    view.count(1)
    assert.deepEqual(view.stretch(100), { fromS: 90, toS: 100, isFrozen: false })
    view.toggle(100)
    view.count(1)
    view.count(4)
    assert.deepEqual(view.stretch(105), { fromS: 90, toS: 100, isFrozen: true })
    assert.equal(view.missed, 5)
    view.toggle(105)
    assert.equal(view.missed, 0)
    assert.deepEqual(view.stretch(106), { fromS: 96, toS: 106, isFrozen: false })
  })
})
