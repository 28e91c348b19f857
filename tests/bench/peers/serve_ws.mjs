// ws: `serve_ws.mjs PORT LINES_PORT`. "+topic" subscribes, "-topic" takes it back.
import { WebSocketServer } from 'ws'
import { listen } from './lines.mjs'

const [port, lines] = process.argv.slice(2).map(Number)
const members = new Map()
const of = topic => members.get(topic) ?? members.set(topic, new Set()).get(topic)

const server = new WebSocketServer({ host: '127.0.0.1', port, backlog: 1024, perMessageDeflate: false })
server.on('connection', browser => {
  browser.on('message', message => {
    const text = String(message)
    if (text[0] === '+') of(text.slice(1)).add(browser)
    else of(text.slice(1)).delete(browser)
    browser.send('ok')
  })
  browser.on('close', () => members.forEach(each => each.delete(browser)))
  browser.on('error', () => {}) // its close follows
})

listen(lines, (topic, payload) => {
  const message = Buffer.from(payload) // encoded once
  for (const browser of of(topic)) browser.send(message, { binary: false })
})
