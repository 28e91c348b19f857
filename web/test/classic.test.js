// The pure parts of the classic page and of the chat, by tables; and the words for a connection's state.

import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { describe, test } from 'node:test'
import { MOST_POINTS, pointOf, Points } from '../public/classic/points.js'
import { followState } from '../public/classic/state.js'
import { messageOf, placeIn, topicOf } from '../public/examples/rooms.js'

describe('pointOf', () => {
  const time = 1_790_000_000
  for (const [name, data, field, expected] of [
    ['of the demo', { x: time * 1000 - 7, y: 2.5 }, null, [time * 1000 - 7, 2.5]],
    ['x that is no time of about then', { x: 3, y: 2.5 }, null, [time * 1000, 2.5]],
    ['the first number where there is no y', { name: 'a', load: { one: 0.5, five: 0.1 } }, null, [time * 1000, 0.5]],
    ['a chosen field', { y: 1, load: { one: 0.5 } }, 'load.one', [time * 1000, 0.5]],
    ['a number alone', 7, null, [time * 1000, 7]],
    ['a field that is not there', { y: 1 }, 'z', null],
    ['no number', { y: 'high' }, null, null],
    ['nothing', null, null, null],
    ['words', undefined, null, null],
  ]) test(name, () => assert.deepEqual(pointOf({ time, data }, field), expected))
})

describe('Points', () => {
  const filled = count => {
    const points = new Points()
    for (let at = 0; at < count; at++) points.add([at, at % 5])
    return points
  }
  test('keeps the newest', () => {
    const { all } = filled(MOST_POINTS + 30)
    assert.deepEqual([all.length, all[0], all.at(-1)], [MOST_POINTS, [30, 0], [MOST_POINTS + 29, 4]])
  })
  test('a hole is one, however often it is told, and none before the first point', () => {
    const points = filled(0)
    points.tear()
    assert.deepEqual(points.all, [])
    points.add([1, 1])
    points.tear()
    points.tear()
    assert.deepEqual(points.all, [[1, 1], null])
  })
  test('is empty after clear', () => {
    const points = filled(3)
    points.clear()
    assert.deepEqual(points.all, [])
  })
  for (const [name, values, range] of [
    ['nothing', [], [0, 5]], ['within', [1, 4.9], [0, 5]], ['above', [1, 90], [0, 90]], ['below', [-2, 1], [-2, 5]],
  ]) {
    test(`the range of ${name}`, () => {
      const points = new Points()
      for (const [at, y] of values.entries()) points.add([at, y])
      points.tear()
      assert.deepEqual(points.range, range)
    })
  }
})

/** A socket of the official client as far as followState looks at it. */
class Socket extends EventEmitter {
  connected = false
  active = true
  io = {}

  connect(transport) {
    this.connected = true
    this.io.engine = Object.assign(new EventEmitter(), { transport: { name: transport } })
    this.emit('connect')
  }

  break() {
    this.connected = false
    this.emit('disconnect')
  }

  fail(description, answer) {
    this.emit('connect_error', { message: 'xhr poll error', description, context: { responseText: answer } })
  }

  disconnect() {
    this.active = false
  }
}

describe('followState', () => {
  for (const [name, act, told] of [
    ['connected', s => s.connect('websocket'), ['Connected: websocket']],
    ['upgraded', s => { s.connect('polling'); s.io.engine.emit('upgrade', { name: 'websocket' }) }, ['Connected: polling', 'Connected: websocket']],
    ['closed, and back', s => { s.connect('polling'); s.break(); s.connect('websocket') }, ['Connected: polling', 'Closed', 'Connected: websocket']],
    ['an upgrade of a connection that was', s => { s.connect('polling'); s.break(); s.io.engine.emit('upgrade', { name: 'websocket' }) }, ['Connected: polling', 'Closed']],
    ['ended on purpose', s => { s.connect('polling'); s.active = false; s.break() }, ['Connected: polling', 'Error']],
    ['nobody there', s => s.fail(0), ['Closed']],
    ['a gateway that was there comes back', s => s.fail(400), ['Closed']],
    ['refused with 403', s => s.fail(403), ['Error']],
    ['refused with 401', s => s.fail(401), ['Error']],
    ['refused by a packet', s => { s.active = false; s.fail() }, ['Error']],
  ]) {
    test(name, () => {
      const socket = new Socket()
      const heard = []
      followState(socket, text => heard.push(text))
      act(socket)
      assert.deepEqual(heard, told)
    })
  }
  for (const [name, act, reason] of [
    ['in the words of the gateway', s => s.fail(403, '{"code":4,"message":"Forbidden: no"}'), 'Forbidden: no'],
    ['of an answer that is none of a gateway', s => s.fail(403, '<html>'), 'xhr poll error'],
    ['of a packet that refuses', s => { s.active = false; s.emit('connect_error', new Error('Invalid namespace')) }, 'Invalid namespace'],
    ['of an end on purpose', s => { s.connect('polling'); s.active = false; s.emit('disconnect', 'io server disconnect') }, 'io server disconnect'],
    ['none of what it comes back from', s => s.fail(503, '{"message":"busy"}'), undefined],
  ]) {
    test(`the reason ${name}`, () => {
      const socket = new Socket()
      let heard
      followState(socket, (_, reason) => { heard = reason })
      act(socket)
      assert.equal(heard, reason)
    })
  }
  test('nothing more once it is undone', () => {
    const socket = new Socket()
    const heard = []
    const stop = followState(socket, text => heard.push(text))
    socket.connect('polling')
    stop()
    socket.io.engine.emit('upgrade', { name: 'websocket' })
    socket.break()
    assert.deepEqual(heard, ['Connected: polling'])
  })
})

describe('topicOf', () => {
  for (const [room, topic] of [
    ['lobby', 'room/lobby'], ['ünï', 'room/ünï'], ['<b>', 'room/<b>'], ['$x', 'room/$x'],
    ['', null], ['.', null], ['..', null], ['a b', null], ['a/b', null], ['*', null], ['a\u0000', null],
    ['x'.repeat(250), `room/${'x'.repeat(250)}`], ['ü'.repeat(126), null],
  ]) test(JSON.stringify(room.slice(0, 20)), () => assert.equal(topicOf(room), topic))
})

describe('placeIn', () => {
  for (const [name, state, words] of [
    ['before it', { topic: null, isIn: false, isConnected: true }, 'Enter a room to write there.'],
    ['asked for', { topic: 'room/tea', isIn: false, isConnected: true }, 'Entering room/tea...'],
    ['there', { topic: 'room/tea', isIn: true, isConnected: true }, 'You are in room/tea.'],
    ['away', { topic: 'room/tea', isIn: true, isConnected: false }, 'No connection: you can write in room/tea when it is back.'],
  ]) test(name, () => assert.equal(placeIn(state), words))
})

describe('messageOf', () => {
  for (const [name, event, expected] of [
    ['a message', { data: { name: 'Ada', text: 'hello' } }, ['Ada', 'hello']],
    ['another shape', { data: { celsius: 20.5 } }, ['', '{"celsius":20.5}']],
    ['a name that is none', { data: { name: 7, text: 'x' } }, ['', '{"name":7,"text":"x"}']],
    ['null', { data: null }, ['', 'null']],
    ['words', { text: 'door opened' }, ['', 'door opened']],
    ['bytes', { data: new ArrayBuffer(3) }, ['', '(3 bytes)']],
  ]) {
    test(name, () => {
      const message = messageOf({ time: 1_790_000_000.5, ...event })
      assert.deepEqual([message.name, message.text], expected)
      assert.equal(message.at.getTime(), 1_790_000_000_500)
    })
  }
})
