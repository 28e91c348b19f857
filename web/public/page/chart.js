// The one file that knows the chart library. Made for a topic's set of fields; made anew when that
// changes or the colours do.

import uPlot from '/lib/uplot-1.6.32/uPlot.esm.js'
import { axisMarks, clockTime } from './format.js'
import { hatch } from './hatch.js'
import { filling, trace } from './line.js'
import { pointed } from './pointed.js'
import { extent, follow } from './range.js'
import { labelled, measured } from './units.js'

const AXIS_PX = 46
const DIGIT_PX = 6.5
const AXIS_GAP_PX = 10
const X_AXIS_PX = 26
const HALF_TIME_PX = 20
const TIME_SPACE_PX = 64
/** The library goes from one minute to five: a narrow chart of five minutes would have one mark. */
const TIME_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600]
const NEAR_PX = 16
const DOT_PX = 2.5
const LEVEL_DASH_PX = [3, 5]
const LEVEL_ALPHA = 0.55
/** From this series on lines are dashed as well: colour alone does not tell eight apart. */
const DASHED_FROM = 5
const DASHES = [[6, 3], [2, 3], [8, 3, 2, 3], [3, 2]]

/** The colours and fonts of the page as it is shown now. */
export function look() {
  const style = getComputedStyle(document.documentElement)
  const read = name => style.getPropertyValue(name).trim()
  return {
    lines: Array.from({ length: 8 }, (_, n) => read(`--line-${n + 1}`)),
    axis: read('--text-quiet'), grid: read('--grid'), hatch: { line: read('--hatch'), ground: read('--hatch-ground') },
    font: `11px ${read('--font')}`,
  }
}

/** Colour and dash of the n-th field, the same for line and legend. */
export function strokeOf(n, { lines }) {
  return { color: lines[n % lines.length], dash: n < DASHED_FROM - 1 ? null : DASHES[(n - DASHED_FROM + 1) % DASHES.length] }
}

export class Chart {
  #plot
  #names
  #scaleNames
  #fieldScales
  #fieldUnits
  #units
  #fromS = 0
  #toS = 1
  /** @type {Record<string, [number, number] | null>} */ #ranges = {}
  #rows = { times: [], values: [], breaks: [] }
  /** @type {import('./topic.js').Hole[]} */ #holes = []
  /** @type {Path2D[]} points without neighbours, of each field */ #dots = []
  /** @type {number[] | null} */ #levels = null
  /** @type {Record<string, number>} */ #axisPx = {}

  /**
   * @param {HTMLElement} parent
   * @param {string} topic
   * @param {string[]} names of the fields
   * @param {{width: number, height: number}} size CSS pixels
   * @param {(cursor: {timeS: number, row: number | null} | null) => void} onCursor row: index into the
   *   rows last pushed, null where nothing is drawn; null when it leaves
   */
  constructor(parent, topic, names, size, onCursor) {
    this.#names = names
    const theme = look()
    this.#fieldUnits = names.map(name => labelled(name, topic).unit)
    const units = [...new Set(this.#fieldUnits)]
    // Two scales at most: a percentage beside mebibytes would be a flat line at the bottom.
    this.#scaleNames = units.length > 1 ? ['y', 'right'] : ['y']
    this.#fieldScales = this.#fieldUnits.map(unit => (unit === units[0] ? 'y' : 'right'))
    // A right axis of several units has none of its own.
    this.#units = { y: units[0], right: units.length === 2 ? units[1] : '' }
    this.#plot = new uPlot({
      ...size,
      pxAlign: 0,
      padding: [8, units.length > 1 ? 0 : 8, 0, 0],
      legend: { show: false },
      cursor: {
        y: false, drag: { x: false, y: false }, points: { size: 6 },
        dataIdx: (_, n, row) => this.#pointed(n, row),
        sync: { key: 'board', scales: ['x', null], setSeries: false },
      },
      scales: Object.fromEntries([
        ['x', { time: true, auto: false, range: () => [this.#fromS, this.#toS] }],
        ...this.#scaleNames.map(scale => [scale, { auto: false, range: () => this.#shownRange(scale) }]),
      ]),
      axes: this.#axes(theme, units),
      series: [{}, ...names.map((name, n) => this.#line(name, n, theme))],
      hooks: {
        drawAxes: [plot => this.#hatch(plot, theme)],
        drawSeries: [(plot, n) => this.#drawAlone(plot, n - 1, theme)],
        setCursor: [({ cursor }) => onCursor(cursor.left >= 0 ? { timeS: this.#cursorS, row: this.#pointed(0, cursor.idx) } : null)],
      },
    }, [[], ...names.map(() => [])], parent)
  }

  /** The stretch of time to show, in seconds since the Unix epoch. */
  setWindow(fromS, toS) {
    this.#fromS = fromS
    this.#toS = toS
  }

  /**
   * Let the ranges take in these values.
   * @param {Float64Array[]} values of each field
   */
  fit(values) {
    for (const scale of this.#scaleNames) {
      const data = extent(values.filter((_, n) => this.#fieldScales[n] === scale))
      this.#ranges[scale] = follow(this.#ranges[scale] ?? null, data)
    }
  }

  /**
   * Show these rows in the window set before.
   * @param {{times: Float64Array, values: Float64Array[], breaks: Uint8Array}} rows
   * @param {import('./topic.js').Hole[]} holes
   * @param {number[] | null} levels where nothing came in this window: what each field was last
   */
  push(rows, holes, levels) {
    this.#holes = holes
    this.#levels = levels
    // The range stays as it was when the last event came: one value alone says nothing of it.
    if (!levels) this.fit(rows.values)
    const shown = rows.values.map((values, n) => {
      const { divisor } = this.measure(n)
      return divisor === 1 ? values : values.map(value => value / divisor)
    })
    this.#rows = { ...rows, values: shown }
    this.#plot.batch(() => {
      this.#plot.setData([rows.times, ...shown], false)
      this.#plot.setScale('x', { min: this.#fromS, max: this.#toS })
      for (const scale of this.#scaleNames) {
        const [min, max] = this.#shownRange(scale)
        this.#plot.setScale(scale, { min, max })
      }
    })
  }

  /** How the numbers of the n-th field are shown now, the same as at its axis. */
  measure(n) {
    const measure = this.#measure(this.#fieldScales[n])
    return { ...measure, unit: measure.unit || this.#fieldUnits[n] }
  }

  /** @param {{width: number, height: number}} size CSS pixels */
  resize(size) {
    this.#plot.setSize(size)
  }

  destroy() {
    this.#plot.destroy()
  }

  #measure(scale) {
    return measured(this.#units[scale], this.#ranges[scale] ?? [0, 1])
  }

  #shownRange(scale) {
    const { divisor } = this.#measure(scale)
    return (this.#ranges[scale] ?? [0, 1]).map(value => value / divisor)
  }

  get #cursorS() {
    return this.#plot.posToVal(this.#plot.cursor.left, 'x')
  }

  /** The row that the cursor is at; of a field (from 1, 0 for any), only where it has a value. */
  #pointed(n, row) {
    if (n > 0 && Number.isNaN(this.#rows.values[n - 1][row])) return null
    const nearS = (NEAR_PX * (this.#toS - this.#fromS)) / Math.max(1, this.#plot.over.clientWidth)
    return pointed(this.#rows, row, this.#cursorS, nearS)
  }

  #axes({ axis, grid, font }, units) {
    const common = { stroke: axis, font, ticks: { show: false } }
    const upright = scale => ({
      ...common, scale, space: 28,
      values: (_, splits) => axisMarks(splits).map(mark => (mark === '0' ? mark : mark + this.#measure(scale).power)),
      // It never shrinks: a chart whose edge moves to and fro cannot be read.
      size: (_, marks) => (this.#axisPx[scale] = Math.max(this.#axisPx[scale] ?? AXIS_PX, widest(marks ?? []))),
    })
    const left = { ...upright('y'), grid: { stroke: grid, width: 1 } }
    const right = { ...upright('right'), side: 1, grid: { show: false } }
    const below = {
      ...common, size: X_AXIS_PX, space: TIME_SPACE_PX, incrs: TIME_STEPS_S, grid: { show: false },
      values: (plot, splits) => splits.map(timeS => (fits(plot, timeS) ? clockTime(timeS) : '')),
    }
    return units.length > 1 ? [below, left, right] : [below, left]
  }

  #line(name, n, theme) {
    const { color, dash } = strokeOf(n, theme)
    const isAlone = this.#names.length === 1
    return {
      scale: this.#fieldScales[n], label: name, stroke: color, width: 1.5, auto: false,
      ...(dash && { dash }), cap: 'round', points: { show: false },
      ...(isAlone && { fill: `${color}1f` }),
      paths: plot => this.#path(plot, n, isAlone),
    }
  }

  #path(plot, n, isFilled) {
    const [stroke, fill] = [new Path2D(), isFilled ? new Path2D() : null]
    const dots = this.#dots[n] = new Path2D()
    const line = {
      moveTo: (x, y) => stroke.moveTo(x, y),
      lineTo: (x, y) => stroke.lineTo(x, y),
      dot(x, y) {
        dots.moveTo(x, y)
        dots.arc(x, y, DOT_PX * devicePixelRatio, 0, 2 * Math.PI)
      },
    }
    const pen = isFilled ? filling(line, fill, plot.bbox.top + plot.bbox.height) : line
    trace(pen, { ...this.#rows, values: this.#rows.values[n] },
      timeS => plot.valToPos(timeS, 'x', true), value => plot.valToPos(value, this.#fieldScales[n], true))
    if (isFilled) pen.finish()
    return { stroke, fill, clip: null, band: null, gaps: null, flags: 0 }
  }

  /** What is no line: points without neighbours, and the level where nothing came. */
  #drawAlone({ ctx, bbox, valToPos }, n, theme) {
    const { color } = strokeOf(n, theme)
    const level = this.#levels?.[n] ?? NaN
    ctx.save()
    ctx.beginPath()
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
    ctx.clip()
    ctx.fillStyle = ctx.strokeStyle = color
    if (this.#dots[n]) ctx.fill(this.#dots[n])
    if (!Number.isNaN(level)) {
      const y = valToPos(level / this.measure(n).divisor, this.#fieldScales[n], true)
      ctx.globalAlpha = LEVEL_ALPHA
      ctx.lineWidth = 1.5 * devicePixelRatio
      ctx.lineCap = 'butt'
      ctx.setLineDash(LEVEL_DASH_PX.map(px => px * devicePixelRatio))
      ctx.beginPath()
      ctx.moveTo(bbox.left, y)
      ctx.lineTo(bbox.left + bbox.width, y)
      ctx.stroke()
    }
    ctx.restore()
  }

  #hatch({ ctx, bbox, valToPos }, theme) {
    const stretches = this.#holes.map(({ fromS, toS }) => [valToPos(fromS, 'x', true), valToPos(toS, 'x', true)])
    hatch(ctx, bbox, stretches, theme.hatch, devicePixelRatio)
  }
}

/** Room for the longest of these marks. @param {string[]} marks */
function widest(marks) {
  return AXIS_GAP_PX + DIGIT_PX * Math.max(0, ...marks.map(({ length }) => length))
}

/** Whether the mark of a time would not be cut at an edge of the chart. */
function fits(plot, timeS) {
  const x = plot.valToPos(timeS, 'x')
  return x > -AXIS_PX / 2 && x < plot.over.clientWidth - HALF_TIME_PX
}
