// A load balancer that knows no stickiness: each connection goes to the next server in turn, whoever it is of.
// Ports of 127.0.0.1 as JSON, one list a line, on standard input; the newest holds. Its own is what it says first.

import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'

let ports = []
let turn = 0

/** To the next that takes it; who refuses is passed over, as by any balancer that looks after its servers. */
function carry(client, tries = ports.length) {
  if (tries === 0 || client.destroyed) return client.destroy()
  turn = (turn + 1) % ports.length
  const server = connect({ port: ports[turn], host: '127.0.0.1', noDelay: true })
  server.once('connect', () => {
    server.removeAllListeners('error')
    server.on('error', () => client.destroy()).on('close', () => client.destroy())
    client.on('close', () => server.destroy())
    client.pipe(server).pipe(client)
  })
  server.once('error', () => carry(client, tries - 1))
}

const listener = createServer({ noDelay: true, allowHalfOpen: true }, client => {
  client.on('error', () => client.destroy())
  carry(client)
})
listener.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => console.log(listener.address().port))
for await (const line of createInterface({ input: process.stdin })) ports = JSON.parse(line)
process.exit(0)
