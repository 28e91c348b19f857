// A gateway in miniature, for tests of the client over a real socket. Its uses, most common first:
//   const server = await fakeServer()              listen on a port the kernel picks
//   server.publish('a', { v: 1 })                  log an event and send it to whoever asked for its topic
//   server.settle()                                send what is kept back of topics not wanted in full, then `at`
//   await server.asked(n)                          the n-th subscribe that came, over all connections (from 0)
//   server.breakAll()                              cut all connections, as a killed gateway does
//   server.closeAll(1012, 'reason')                end them with a code
//   server.answers = request => [...]              answer subscribes by other objects; null: as usual
//   server.published                               what clients published, once a key
//   server.refuses = request => ({code, message})  refuse what they publish; null: log it, as usual
//   server.begin('e2')                             a new log, as after a restart in memory
//   server.welcome = '...'                         another position to welcome with than the log's
//   server.isMute = true                           hear everything, answer nothing
//   server.beats                                   how often a beat was asked for, which never comes by itself
//   await server.stop()

import { once } from 'node:events'
import { WebSocketServer } from 'ws'
import { fullest, isConflated } from '../public/penstock/delivery.js'
import { matcher } from '../public/penstock/patterns.js'

export const EPOCH = { e1: '00000000000000e1', e2: '00000000000000e2' }

export async function fakeServer() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: offered => [...offered][0] })
  await once(server, 'listening')
  return new FakeServer(server)
}

class FakeServer {
  requests = []      // every client message but those that ask for beats
  beats = 0
  published = []
  refuses = () => null
  answers = () => null
  isMute = false
  welcome = null     // another position than the log's
  #keys = new Map()
  #subscribes = []
  #waiting = []      // [n, resolve]
  #log = []

  constructor(server) {
    this.server = server
    this.url = `ws://127.0.0.1:${server.address().port}/ws`
    this.begin('e1')
    server.on('connection', socket => this.#greet(socket))
  }

  get position() {
    return `${this.epoch}.${this.#log.length}`
  }

  begin(name) {
    this.epoch = EPOCH[name]
    this.#log = []
  }

  publish(topic, data) {
    const before = this.#log.filter(event => event.topic === topic)
    const event = { topic, seq: this.#log.length + 1, prev: before.at(-1)?.seq ?? 0, nth: before.length + 1, time: 1_790_000_000, data }
    this.#log.push(event)
    this.broadcast(event)
    return event
  }

  /** Send an object as it is to all connections, an event only to those that asked for it: as it is to
   * those that want all of its topic, when `settle` says so to others. */
  broadcast(object) {
    for (const socket of this.server.clients) {
      const wanted = [...socket.wanted.values()].filter(({ matches }) => object.topic && matches(object.topic))
      if (object.topic && !wanted.length) continue
      if (wanted.length && isConflated(fullest(wanted.map(({ delivery }) => delivery)))) socket.kept.set(object.topic, object)
      else socket.send(JSON.stringify(object))
    }
  }

  settle() {
    for (const socket of this.server.clients) this.#settle(socket)
  }

  #settle(socket) {
    const events = [...socket.kept.values()].sort((a, b) => a.seq - b.seq).map(bare)
    socket.kept.clear()
    socket.send([...events, { at: this.position }].map(object => JSON.stringify(object)).join('\n'))
  }

  asked(n) {
    if (this.#subscribes.length > n) return Promise.resolve(this.#subscribes[n])
    return new Promise(resolve => this.#waiting.push([n, resolve]))
  }

  breakAll() {
    for (const socket of this.server.clients) socket.terminate()
  }

  closeAll(code, reason) {
    for (const socket of this.server.clients) socket.close(code, reason)
  }

  async stop() {
    this.breakAll()
    this.server.close()
    await once(this.server, 'close')
  }

  #greet(socket) {
    socket.wanted = new Map()   // pattern -> {matches, delivery}
    socket.kept = new Map()     // topic -> its newest event, of those not wanted in full
    socket.on('message', message => this.#hear(socket, JSON.parse(message)))
    if (!this.isMute) socket.send(JSON.stringify({ welcome: { position: this.welcome ?? this.position, gateway: 'fake' } }))
  }

  #hear(socket, request) {
    if (request.beat) {
      this.beats += 1
      if (!this.isMute) socket.send(JSON.stringify({ reply: request.id, ok: {} }))
      return
    }
    this.requests.push(request)
    if (!this.isMute) this.#answer(socket, request)
    if (!request.subscribe) return
    this.#subscribes.push(request)
    this.#waiting = this.#waiting.filter(([n, resolve]) => n >= this.#subscribes.length || resolve(this.#subscribes[n]))
  }

  /** One after the other: what follows one that was not confirmed is not logged. */
  #publish(socket, id, { publish, follows, key, ...payload }) {
    const skips = follows !== undefined && follows !== socket.confirmed
    const error = skips ? { code: 'unavailable', message: 'not confirmed' } : this.refuses({ publish, key, ...payload })
    socket.confirmed = error ? null : id
    if (error) return socket.send(JSON.stringify({ reply: id, error }))
    const repeated = this.#keys.has(key) ? { repeated: true } : {}
    if (!this.#keys.has(key)) {
      this.published.push({ topic: publish, ...payload })
      this.publish(publish, payload.data)
      this.#keys.set(key, this.position)
    }
    return socket.send(JSON.stringify({ reply: id, ok: { position: this.#keys.get(key), ...repeated } }))
  }

  #answer(socket, { id, ...request }) {
    const reply = ok => socket.send(JSON.stringify({ reply: id, ok }))
    if (request.publish !== undefined) return this.#publish(socket, id, request)
    if (request.ping) return reply({ time: 1_790_000_000.5 })
    if (request.unsubscribe) {
      socket.wanted.delete(request.unsubscribe)
      return reply({ position: this.position })
    }
    const special = this.answers({ id, ...request })
    const matches = matcher(request.subscribe)
    const { delivery = 'all' } = request
    if (socket.kept.size) this.#settle(socket)
    if (!special || special.some(object => object.reply === id && object.ok)) socket.wanted.set(request.subscribe, { matches, delivery })
    if (special) return socket.send(special.map(object => JSON.stringify(object)).join('\n'))
    const past = this.#log.filter(event => matches(event.topic))
    const since = past.filter(({ seq }) => seq > Number(request.since?.split('.')[1]))
    const wanted = request.since
      ? isConflated(delivery) ? since.filter((event, n) => !since.slice(n + 1).some(({ topic }) => topic === event.topic)).map(bare) : since
      : past.slice(past.length - (request.history ?? 0))
    // A flush makes one frame: all of the past and the reply come together.
    const objects = wanted.map(event => ({ history: id, ...event }))
    return socket.send([...objects, { reply: id, ok: { position: this.position, recovered: true } }].map(object => JSON.stringify(object)).join('\n'))
  }
}

/** As it is sent where others of its topic are left out. */
function bare({ prev, ...event }) {
  return event
}
