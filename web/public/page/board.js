// The grid of cards: which topics are on it, in which order, and when each is drawn.

import { Card } from './card.js'
import { counted } from './format.js'
import { ranked, search } from './ranking.js'

const FIRST_DRAWN = 12
const MOST_TOPICS = 2_000
const DRAW_EVERY_MS = 50
const CALM_DRAW_EVERY_MS = 500
/** Of one animation frame; what is left waits for the next one. */
const FRAME_BUDGET_MS = 12

export class Board {
  /** @type {Map<string, import('./topic.js').Topic>} */ #topics = new Map()
  /** @type {Map<string, Card>} */ #cards = new Map()
  #isSettled = false
  #showsAll = false
  #matches = search('')
  #next = 0
  #calm = matchMedia('(prefers-reduced-motion: reduce)')
  #seen = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries) {
      const card = this.#cardOf(target)
      if (card) card.isVisible = isIntersecting
    }
  }, { rootMargin: '100px' })
  #sized = new ResizeObserver(entries => {
    for (const { target, contentRect: { width, height } } of entries) {
      this.#cardOf(target.closest('.card'))?.resize({ width: Math.floor(width), height: Math.floor(height) })
    }
  })

  /**
   * @param {{grid: HTMLElement, more: HTMLButtonElement, none: HTMLElement}} elements
   * @param {() => number} nowS the server's clock
   */
  constructor(elements, nowS) {
    this.elements = elements
    this.nowS = nowS
    elements.more.addEventListener('click', () => {
      this.#showsAll = true
      this.#place()
    })
  }

  get topicCount() {
    return this.#topics.size
  }

  /** Topics beyond the limit are not shown. */
  get isFull() {
    return this.#topics.size >= MOST_TOPICS
  }

  get isSettled() {
    return this.#isSettled
  }

  /** @param {string} name */
  has(name) {
    return this.#topics.has(name)
  }

  /** The topic of that name, made if need be; null when there are too many. */
  topic(name, make) {
    const known = this.#topics.get(name)
    if (known || this.isFull) return known ?? null
    const topic = make(name)
    this.#topics.set(name, topic)
    // Later ones go to the end: a card must not move away under the pointer.
    if (this.#isSettled) this.#append(topic)
    return topic
  }

  /** The past is in: from now on there is an order. */
  settle() {
    if (this.#isSettled) return
    this.#isSettled = true
    this.#place()
  }

  /** All topics that a pattern matches. @param {(topic: string) => boolean} matches */
  * matching(matches) {
    for (const topic of this.#topics.values()) if (matches(topic.name)) yield topic
  }

  /** @param {string} text */
  filter(text) {
    this.#matches = search(text)
    this.#place()
  }

  invalidate() {
    for (const card of this.#cards.values()) card.invalidate()
  }

  restyle() {
    for (const card of this.#cards.values()) card.restyle()
  }

  /**
   * Draw what is due, for one animation frame.
   * @param {{fromS: number, toS: number, isFrozen: boolean}} view
   * @param {number} frameMs
   */
  draw(view, frameMs) {
    const cards = [...this.#cards.values()]
    const everyMs = this.#calm.matches ? CALM_DRAW_EVERY_MS : DRAW_EVERY_MS
    const startMs = performance.now()
    for (let turn = 0; turn < cards.length; turn++) {
      const card = cards[this.#next++ % cards.length]
      if (card.isVisible) card.draw(view, frameMs, everyMs)
      if (performance.now() - startMs > FRAME_BUDGET_MS) return
    }
  }

  #place() {
    if (!this.#isSettled) return
    const wanted = ranked(this.matching(this.#matches), this.nowS())
    const drawn = this.#showsAll ? wanted : wanted.slice(0, FIRST_DRAWN)
    const names = new Set(drawn.map(({ name }) => name))
    for (const [name, card] of this.#cards) if (!names.has(name)) this.#remove(name, card)
    for (const topic of drawn) this.elements.grid.append(this.#card(topic).element)
    this.#tellRest(wanted.length)
  }

  #append(topic) {
    if (!this.#matches(topic.name)) return
    if (this.#showsAll || this.#cards.size < FIRST_DRAWN) this.elements.grid.append(this.#card(topic).element)
    this.#tellRest([...this.matching(this.#matches)].length)
  }

  #tellRest(wantedCount) {
    const { more, none } = this.elements
    const hiddenCount = wantedCount - this.#cards.size
    more.hidden = hiddenCount === 0
    more.textContent = `Show ${counted(hiddenCount, 'more topic')}`
    none.hidden = wantedCount > 0 || this.#topics.size === 0
  }

  #card(topic) {
    let card = this.#cards.get(topic.name)
    if (!card) {
      card = new Card(topic)
      this.#cards.set(topic.name, card)
      card.element.dataset.topic = topic.name
      this.#seen.observe(card.element)
      this.#sized.observe(card.plotElement)
    }
    return card
  }

  #remove(name, card) {
    this.#seen.unobserve(card.element)
    this.#sized.unobserve(card.plotElement)
    card.destroy()
    this.#cards.delete(name)
  }

  #cardOf(element) {
    return this.#cards.get(element.dataset.topic)
  }
}
