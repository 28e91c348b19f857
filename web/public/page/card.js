// One topic on the board: a chart with its legend, the last lines where there are no numbers, or both.

import { Chart, look, strokeOf } from './chart.js'
import { ago, clockTime, compact, perSecond } from './format.js'
import { holesInWords } from './topic.js'
import { labelled } from './units.js'

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
  /** @type {{timeS: number, row: number | null} | null} */ #cursor = null
  #rows = null
  /** @type {number[]} what each field was last */ #levels = []
  #isSilent = false
  #parts
  /** @type {{value: HTMLElement, unit: HTMLElement}[]} */ #readings = []

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
    if (!this.#chart && !this.#makeChart(fields, this.topic.series.newestS < fromS)) return
    const rows = this.topic.series.window(fromS, toS)
    // The ring goes on under a view of it; what stands still needs a copy.
    this.#rows = isFrozen ? copied(rows) : rows
    this.#levels = this.topic.series.levels(toS)
    this.#isSilent = rows.times.at(-1) < fromS
    this.#chart.setWindow(fromS, toS)
    this.#chart.push(this.#rows, this.topic.holesIn(fromS, toS), this.#isSilent ? this.#levels : null)
  }

  #makeChart(fields, isSilent) {
    this.#parts.plot.hidden = false
    const { clientWidth: width, clientHeight: height } = this.#parts.plot
    if (width === 0) return false
    this.#size = { width, height }
    const names = fields.map(({ name }) => name)
    this.#chart = new Chart(this.#parts.plot, this.topic.name, names, this.#size, cursor => { this.#cursor = cursor })
    this.#chartedFields = fields.length
    // Silent since before the window: then the range is that of all that is known.
    if (isSilent) this.#chart.fit(this.topic.series.window(-Infinity, Infinity).values)
    const theme = look()
    this.#readings = names.map((name, n) => {
      const { label, unit } = labelled(name, this.topic.name)
      const { color, dash } = strokeOf(n, theme)
      const entry = document.createElement('li')
      const [mark, title, value, measure] = ['i', 'span', 'b', 'small'].map(tag => entry.appendChild(document.createElement(tag)))
      mark.style.borderTop = `3px ${dash ? 'dashed' : 'solid'} ${color}`
      title.textContent = label
      measure.textContent = unit
      return { value, unit: measure }
    })
    this.#parts.legend.replaceChildren(...this.#readings.map(({ value }) => value.parentElement))
    return true
  }

  #forgetChart() {
    this.#chart?.destroy()
    this.#chart = null
    this.#cursor = null
  }

  #write({ fromS, toS }) {
    const { plot, legend, gap, value, quiet, more } = this.#parts
    const { topic } = this
    set(gap, holesInWords(topic.holesIn(fromS, toS)))
    set(quiet, topic.lastS < fromS ? `last event ${ago(toS - topic.lastS)}` : '')
    set(more, topic.fieldCount > topic.series.fields.length ? `showing ${topic.series.fields.length} of ${topic.fieldCount}` : '')
    plot.hidden = legend.hidden = !topic.isNumeric
    value.hidden = topic.isNumeric && !topic.saysSomething(fromS)
    if (!value.hidden) setLines(value, topic.words())
    if (!topic.isNumeric) set(this.#parts.rate, perSecond(topic.rate.at(toS)))
  }

  /** The values under the cursor, with its time; else the newest, with the rate. */
  #writeReadings({ fromS, toS, isFrozen }) {
    // A level is the same everywhere.
    const cursor = this.#isSilent ? null : this.#cursor
    this.#readings.forEach(({ value, unit }, n) => {
      const measure = this.#chart?.measure(n)
      if (!measure) return
      const shown = cursor ? this.#valueAt(n, cursor.row, fromS, toS) : this.#levels[n]
      set(value, measure.power ? compact(shown) : compact(shown / measure.divisor))
      set(unit, measure.unit)
    })
    if (cursor) set(this.#parts.rate, clockTime(cursor.timeS))
    else if (!isFrozen) set(this.#parts.rate, perSecond(this.topic.rate.at(toS)))
  }

  /** NaN where nothing is drawn; one row lies outside the window on each side. */
  #valueAt(n, row, fromS, toS) {
    const { times, values } = this.#rows
    return times[row] >= fromS && times[row] <= toS ? values[n][row] : NaN
  }
}

function copied({ times, values, breaks }) {
  return { times: times.slice(), values: values.map(column => column.slice()), breaks: breaks.slice() }
}

/** Newest last, and in sight unless the viewer has scrolled back. */
function setLines(element, text) {
  const isAtEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4
  set(element, text)
  if (isAtEnd) element.scrollTop = element.scrollHeight
}

/** Only what changed: each write to the page costs a layout. */
function set(element, text) {
  if (element.textContent === text) return
  element.textContent = text
  element.hidden = text === ''
}
