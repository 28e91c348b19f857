// Official Socket.IO clients, driven line by line: commands as JSON on standard input, what they hear on
// standard output. It ends with its input. What is looked for, and for how long, is the tests' business.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

// The pages' packages, which is where npm put this one.
const { io } = createRequire(new URL('../../web/package.json', import.meta.url))('socket.io-client')

const sockets = new Map()
const say = told => process.stdout.write(JSON.stringify(told) + '\n')
const revive = (_, value) => (typeof value?.$bytes === 'string' ? Buffer.from(value.$bytes, 'base64') : value)

/** The numbers that came on each topic, as runs: [[0, 99]] is each of a hundred, once and in order. */
function noted(runs, { topic, data: { n } }) {
  const known = (runs[topic] ??= [])
  const last = known.at(-1)
  if (last && n === last[1] + 1) last[1] = n
  else known.push([n, n])
}

/**
 * Its transport ends, as when a network goes. Not in the middle of what came together, and not in an upgrade: the
 * client keeps the rest of that, hands it out when it is back, and has asked for it anew by then.
 */
function breakOff(engine) {
  setImmediate(() => {
    if (engine.upgrading) engine.once('upgrade', () => breakOff(engine))
    else if (engine.writeBuffer.length > 0) engine.once('drain', () => breakOff(engine))
    else engine.close()
  })
}

const commands = {
  /** A client. Whenever it is told that it is new, it subscribes, as a page would. A quiet one says nothing. */
  open({ client, url, options, subscribe = [], quiet = false }) {
    const socket = io(url, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200, ...options })
    const known = { socket, runs: {}, connects: 0, anew: 0, following: new Set(), others: [] }
    sockets.set(client, known)
    const { io: manager } = socket
    const ask = args => socket.emit('subscribe', ...args, answer => {
      known.following.add(args)
      if (!quiet) say({ client, what: 'subscribed', answer })
    })
    socket.on('connect', () => {
      known.connects += 1
      known.anew += !socket.recovered
      const { recovered, id, _pid: pid, _lastOffset: offset } = socket
      const transport = manager.engine.transport.name
      if (!quiet) say({ client, what: 'connect', recovered, id, pid, offset, transport })
      if (!recovered) known.following.clear()
      // Also what was asked on a connection that broke before it was answered: nobody heard that.
      for (const args of subscribe) if (!known.following.has(args)) ask(args)
    })
    socket.on('disconnect', reason => (quiet ? known.others.push(reason) : say({ client, what: 'disconnect', reason })))
    socket.on('connect_error', ({ message }) => quiet || say({ client, what: 'connect_error', message }))
    manager.on('open', () => {
      if (!quiet) manager.engine.on('upgrade', ({ name }) => say({ client, what: 'upgrade', name }))
    })
    socket.onAny((name, ...args) => {
      if (!quiet) say({ client, what: 'heard', name, args })
      else if (name === 'event') noted(known.runs, args[0])
      else if (name !== 'at') known.others.push([name, ...args])
    })
  },
  /** With an `id` an acknowledgement is wanted. */
  emit({ client, name, args, id }) {
    const { socket } = sockets.get(client)
    if (id === undefined) socket.emit(name, ...args)
    else socket.emit(name, ...args, (...answer) => say({ client, what: 'ack', id, answer }))
  },
  /** Its transport ends, as when a network goes; it comes back by itself. */
  break({ client }) {
    breakOff(sockets.get(client).socket.io.engine)
  },
  /** It breaks whenever it hears this, so many times. */
  breakOn({ client, name, times }) {
    const { socket } = sockets.get(client)
    let left = times
    let engine
    const listen = () => {
      if (socket.io.engine === engine) return
      engine = socket.io.engine
      left -= 1
      if (left === 0) socket.off(name, listen)
      breakOff(engine)
    }
    socket.on(name, listen)
  },
  /** What it goes on with when it comes back. */
  forge({ client, pid, offset }) {
    const { socket } = sockets.get(client)
    if (pid !== undefined) socket._pid = pid
    if (offset !== undefined) socket._lastOffset = offset
  },
  move({ client, url }) {
    sockets.get(client).socket.io.uri = url
  },
  close({ client }) {
    sockets.get(client).socket.disconnect()
  },
  report({ id }) {
    const clients = {}
    for (const [client, { socket, ...known }] of sockets) {
      clients[client] = { ...known, following: known.following.size, transport: socket.io.engine?.transport?.name, connected: socket.connected }
    }
    say({ what: 'report', id, clients })
  },
}

say({ what: 'ready' })
for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, ...rest } = JSON.parse(line, revive)
  commands[what](rest)
}
process.exit(0)
