// One topic on the board: a chart with its legend, or the last value where there are no numbers.

import { Chart, look, strokeOf } from './chart.js'
import { labelled } from './fields.js'
import { ago, clockTime, compact, perSecond } from './format.js'
import { holesInWords } from './topic.js'

/** Numbers that change faster than this cannot be read. */
const LEGEND_EVERY_MS = 250

const template = document.getElementById('card')

export class Card {
  isVisible = false
  /** @type {Chart | null} */ #chart = null
  #chartedFields = 0
  #drawnMs = -Infinity
  #writtenMs = -Infinity
  /** @type {{width: number, height: number}} */ #size = { width: 0, height: 0 }
  /** @type {number | null} */ #cursorRow = null
  #rows = null
  #parts
  /** @type {HTMLElement[]} */ #readings = []

  /** @param {import('./topic.js').Topic} topic */
  constructor(topic) {
    this.topic = topic
    this.element = template.content.firstElementChild.cloneNode(true)
    const part = name => this.element.querySelector(`[data-part="${name}"]`)
    this.#parts = {
      plot: part('plot'), legend: part('legend'), gap: part('gap'), rate: part('rate'),
      value: part('value'), quiet: part('quiet'), more: part('more'),
    }
    const cut = topic.name.lastIndexOf('/') + 1
    part('path').textContent = topic.name.slice(0, cut)
    part('name').textContent = topic.name.slice(cut)
    part('title').title = topic.name
    this.element.setAttribute('aria-label', topic.name)
  }

  /** The element whose size the chart takes. */
  get plotElement() {
    return this.#parts.plot
  }

  /**
   * Bring the card up to date, at most as often as can be seen. A frozen view is drawn once.
   * @param {{fromS: number, toS: number, isFrozen: boolean}} view
   * @param {number} nowMs of the page
   * @param {number} everyMs least time between two redraws
   */
  draw(view, nowMs, everyMs) {
    // A window of minutes moves by less than a pixel in 50 ms.
    const pixelMs = ((view.toS - view.fromS) * 1000) / Math.max(1, this.#size.width)
    const isDue = nowMs - this.#drawnMs >= Math.max(everyMs, pixelMs) - 1
    if (this.#drawnMs === -Infinity || (isDue && !view.isFrozen)) {
      this.#drawnMs = nowMs
      if (this.topic.isNumeric) this.#drawChart(view)
    }
    if (nowMs - this.#writtenMs >= LEGEND_EVERY_MS) {
      if (!view.isFrozen || this.#writtenMs === -Infinity) this.#write(view)
      if (this.topic.isNumeric) this.#writeReadings(view)
      this.#writtenMs = nowMs
    }
  }

  /** Draw at the next chance, however soon. */
  invalidate() {
    this.#drawnMs = this.#writtenMs = -Infinity
  }

  /** @param {{width: number, height: number}} size CSS pixels */
  resize(size) {
    if (size.width === this.#size.width && size.height === this.#size.height) return
    this.#size = size
    if (size.width > 0) this.#chart?.resize(size)
    this.invalidate()
  }

  /** The colours of the page have changed. */
  restyle() {
    this.#forgetChart()
    this.invalidate()
  }

  destroy() {
    this.#forgetChart()
    this.element.remove()
  }

  #drawChart({ fromS, toS, isFrozen }) {
    const { fields } = this.topic.series
    if (this.#chartedFields !== fields.length) this.#forgetChart()
    if (!this.#chart && !this.#makeChart(fields)) return
    const rows = this.topic.series.window(fromS, toS)
    // The ring goes on under a view of it; what stands still needs a copy.
    this.#rows = isFrozen ? copied(rows) : rows
    this.#chart.setWindow(fromS, toS)
    this.#chart.push(this.#rows, this.topic.holesIn(fromS, toS))
  }

  #makeChart(fields) {
    this.#parts.plot.hidden = false
    const { clientWidth: width, clientHeight: height } = this.#parts.plot
    if (width === 0) return false
    this.#size = { width, height }
    const names = fields.map(({ name }) => name)
    this.#chart = new Chart(this.#parts.plot, names, this.#size, row => { this.#cursorRow = row })
    this.#chartedFields = fields.length
    const theme = look()
    this.#readings = names.map((name, n) => {
      const { label, unit } = labelled(name)
      const { color, dash } = strokeOf(n, theme)
      const entry = document.createElement('li')
      const [mark, title, reading, measure] = ['i', 'span', 'b', 'small'].map(tag => entry.appendChild(document.createElement(tag)))
      mark.style.borderTop = `3px ${dash ? 'dashed' : 'solid'} ${color}`
      title.textContent = label
      measure.textContent = unit
      return reading
    })
    this.#parts.legend.replaceChildren(...this.#readings.map(reading => reading.parentElement))
    return true
  }

  #forgetChart() {
    this.#chart?.destroy()
    this.#chart = null
    this.#cursorRow = null
  }

  #write({ fromS, toS }) {
    const { plot, legend, gap, value, quiet, more } = this.#parts
    const { topic } = this
    set(gap, holesInWords(topic.holesIn(fromS, toS)))
    set(quiet, topic.lastS < fromS ? `last event ${ago(toS - topic.lastS)}` : '')
    set(more, topic.fieldCount > topic.series.fields.length ? `showing ${topic.series.fields.length} of ${topic.fieldCount}` : '')
    plot.hidden = legend.hidden = !topic.isNumeric
    value.hidden = topic.isNumeric
    if (!topic.isNumeric) {
      set(value, topic.lastText())
      set(this.#parts.rate, perSecond(topic.rate.at(toS)))
    }
  }

  /** The values under the cursor, with their time; else the newest, with the rate. */
  #writeReadings({ fromS, toS, isFrozen }) {
    const { times, values } = this.#rows ?? { times: [], values: [] }
    // One row lies outside the window on each side.
    const row = times[this.#cursorRow] >= fromS && times[this.#cursorRow] <= toS ? this.#cursorRow : null
    this.#readings.forEach((reading, n) => set(reading, compact(row === null ? newest(values[n]) : values[n][row])))
    if (row !== null) set(this.#parts.rate, clockTime(times[row]))
    else if (!isFrozen) set(this.#parts.rate, perSecond(this.topic.rate.at(toS)))
  }
}

function newest(values) {
  let row = values.length - 1
  while (row > 0 && Number.isNaN(values[row])) row--
  return values[row]
}

function copied({ times, values, breaks }) {
  return { times: times.slice(), values: values.map(column => column.slice()), breaks: breaks.slice() }
}

/** Only what changed: each write to the page costs a layout. */
function set(element, text) {
  if (element.textContent === text) return
  element.textContent = text
  element.hidden = text === ''
}
