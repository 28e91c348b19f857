// The producer's side of the servers under Node: each line that comes is a topic, a space and a payload.
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'

/** @param {(topic: string, payload: string) => void} publish */
export function listen(port, publish) {
  createServer(link => {
    createInterface({ input: link }).on('line', line => {
      const space = line.indexOf(' ')
      publish(line.slice(0, space), line.slice(space + 1))
    })
    link.on('error', () => {}) // the producer is ended with the bench
  }).listen(port, '127.0.0.1')
}
