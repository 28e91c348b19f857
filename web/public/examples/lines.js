// The lines of the chat, newest last. Names and texts are anybody's: they become text, never markup.

const MOST_LINES = 500

export class Lines {
  #place

  /** @param {HTMLElement} place */
  constructor(place) {
    this.#place = place
  }

  clear() {
    this.#place.replaceChildren()
  }

  /** Between the two what is added is not read out. @param {boolean} isPast */
  set isPast(isPast) {
    this.#place.setAttribute('aria-busy', String(isPast))
  }

  /** @param {{at: Date, name: string, text: string}} message */
  message({ at, name, text }) {
    const time = element('time', at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }))
    time.dateTime = at.toISOString()
    this.#add(element('p', time, ' ', ...(name ? [element('b', name), ': '] : []), text))
  }

  /** What nobody said. @param {string} text */
  aside(text) {
    const line = element('p', text)
    line.className = 'aside'
    this.#add(line)
  }

  #add(line) {
    const place = this.#place
    // Who reads further up is left there.
    const follows = place.scrollHeight - place.scrollTop - place.clientHeight < 40
    place.append(line)
    if (place.childElementCount > MOST_LINES) place.firstElementChild.remove()
    if (follows) place.scrollTop = place.scrollHeight
  }
}

function element(name, ...content) {
  const made = document.createElement(name)
  made.append(...content)
  return made
}
