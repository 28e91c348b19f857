// How a Socket.IO connection stands, in the words of the classic page. No DOM.

/** Answers to a handshake after which coming back with the same right would only be refused again. */
const REFUSED = [401, 403]

export const ERROR = 'Error'
export const CLOSED = 'Closed'

/** @param {string} transport polling or websocket */
export const connected = transport => `Connected: ${transport}`

/**
 * Tells each state, until the returned function is called: `Connected: <transport>`, also after an
 * upgrade; `Closed`, and it tries again by itself; `Error`, and it does not, with the reason.
 * @param {import('socket.io-client').Socket} socket
 * @param {(text: string, reason?: string) => void} tell
 */
export function followState(socket, tell) {
  let engine
  const upgraded = transport => { if (socket.connected) tell(connected(transport.name)) }
  const listeners = {
    connect() {
      // Each connection has an engine of its own; it begins with polling and goes on from there.
      engine?.off('upgrade', upgraded)
      engine = socket.io.engine
      engine.on('upgrade', upgraded)
      tell(connected(engine.transport.name))
    },
    // Not active: the gateway refused, or ended it on purpose, and the client does not come back.
    disconnect: reason => socket.active ? tell(CLOSED) : tell(ERROR, reason),
    connect_error(error) {
      if (REFUSED.includes(error.description)) socket.disconnect()
      if (socket.active) tell(CLOSED)
      else tell(ERROR, reasonOf(error))
    },
  }
  for (const [name, listener] of Object.entries(listeners)) socket.on(name, listener)
  return () => {
    engine?.off('upgrade', upgraded)
    for (const [name, listener] of Object.entries(listeners)) socket.off(name, listener)
  }
}

/** In the gateway's words, where it has answered a poll: the client's own are the same for all. */
function reasonOf(error) {
  try {
    return JSON.parse(error.context.responseText).message ?? error.message
  } catch {
    return error.message
  }
}
