// Socket.IO: `serve_socket_io.mjs PORT LINES_PORT`. A topic is a room.
import { createServer } from 'node:http'
import { Server } from 'socket.io'
import { listen } from './lines.mjs'

const [port, lines] = process.argv.slice(2).map(Number)
const http = createServer()
const io = new Server(http, {
  transports: ['websocket'],
  perMessageDeflate: false,
  serveClient: false,
  pingInterval: 600_000 // the crowd answers none
})
io.on('connection', socket => {
  socket.on('subscribe', (topic, done) => { socket.join(topic); done() })
  socket.on('unsubscribe', (topic, done) => { socket.leave(topic); done() })
})
http.listen({ host: '127.0.0.1', port, backlog: 1024 })

listen(lines, (topic, payload) => io.to(topic).emit('event', JSON.parse(payload)))
