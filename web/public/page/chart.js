// The one file that knows the chart library. Made for a topic's set of fields; made anew when that
// changes or the colours do.

import uPlot from '/lib/uplot-1.6.32/uPlot.esm.js'
import { labelled } from './fields.js'
import { axisMarks, clockTime } from './format.js'
import { hatch } from './hatch.js'
import { filling, trace } from './line.js'
import { extent, follow } from './range.js'

const AXIS_PX = 46
const X_AXIS_PX = 26
const HALF_TIME_PX = 20
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
  #fromS = 0
  #toS = 1
  /** @type {Record<string, [number, number] | null>} */ #ranges = {}
  #rows = { times: [], values: [], breaks: [] }
  /** @type {import('./topic.js').Hole[]} */ #holes = []

  /**
   * @param {HTMLElement} parent
   * @param {string[]} names of the fields
   * @param {{width: number, height: number}} size CSS pixels
   * @param {(row: number | null) => void} onCursor index into the rows last pushed, null when it leaves
   */
  constructor(parent, names, size, onCursor) {
    this.#names = names
    const theme = look()
    const units = [...new Set(names.map(name => labelled(name).unit))]
    // Two scales at most: a percentage beside mebibytes would be a flat line at the bottom.
    this.#scaleNames = units.length > 1 ? ['y', 'right'] : ['y']
    this.#fieldScales = names.map(name => (labelled(name).unit === units[0] ? 'y' : 'right'))
    this.#plot = new uPlot({
      ...size,
      pxAlign: 0,
      padding: [8, units.length > 1 ? 0 : 8, 0, 0],
      legend: { show: false },
      cursor: {
        y: false, drag: { x: false, y: false }, points: { size: 6 },
        sync: { key: 'board', scales: ['x', null], setSeries: false },
      },
      scales: Object.fromEntries([
        ['x', { time: true, auto: false, range: () => [this.#fromS, this.#toS] }],
        ...this.#scaleNames.map(scale => [scale, { auto: false, range: () => this.#ranges[scale] ?? [0, 1] }]),
      ]),
      axes: this.#axes(theme, units),
      series: [{}, ...names.map((name, n) => this.#line(name, n, theme))],
      hooks: {
        drawAxes: [plot => this.#hatch(plot, theme)],
        setCursor: [({ cursor }) => onCursor(cursor.left >= 0 ? cursor.idx ?? null : null)],
      },
    }, [[], ...names.map(() => [])], parent)
  }

  /** The stretch of time to show, in seconds since the Unix epoch. */
  setWindow(fromS, toS) {
    this.#fromS = fromS
    this.#toS = toS
  }

  /**
   * Show these rows in the window set before.
   * @param {{times: Float64Array, values: Float64Array[], breaks: Uint8Array}} rows
   * @param {import('./topic.js').Hole[]} holes
   */
  push(rows, holes) {
    this.#rows = rows
    this.#holes = holes
    for (const scale of this.#scaleNames) {
      const data = extent(rows.values.filter((_, n) => this.#fieldScales[n] === scale))
      this.#ranges[scale] = follow(this.#ranges[scale] ?? null, data)
    }
    this.#plot.batch(() => {
      this.#plot.setData([rows.times, ...rows.values], false)
      this.#plot.setScale('x', { min: this.#fromS, max: this.#toS })
      for (const scale of this.#scaleNames) {
        const [min, max] = this.#ranges[scale]
        this.#plot.setScale(scale, { min, max })
      }
    })
  }

  /** @param {{width: number, height: number}} size CSS pixels */
  resize(size) {
    this.#plot.setSize(size)
  }

  destroy() {
    this.#plot.destroy()
  }

  #axes({ axis, grid, font }, units) {
    const common = { stroke: axis, font, ticks: { show: false } }
    const left = {
      ...common, scale: 'y', size: AXIS_PX, space: 28, grid: { stroke: grid, width: 1 },
      values: (_, splits) => axisMarks(splits),
    }
    const right = { ...left, scale: 'right', side: 1, grid: { show: false } }
    const below = {
      ...common, size: X_AXIS_PX, space: 76, grid: { show: false },
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
    const pen = isFilled ? filling(stroke, fill, plot.bbox.top + plot.bbox.height) : stroke
    trace(pen, { ...this.#rows, values: this.#rows.values[n] },
      timeS => plot.valToPos(timeS, 'x', true), value => plot.valToPos(value, this.#fieldScales[n], true))
    if (isFilled) pen.finish()
    return { stroke, fill, clip: null, band: null, gaps: null, flags: 0 }
  }

  #hatch({ ctx, bbox, valToPos }, theme) {
    const stretches = this.#holes.map(({ fromS, toS }) => [valToPos(fromS, 'x', true), valToPos(toS, 'x', true)])
    hatch(ctx, bbox, stretches, theme.hatch, devicePixelRatio)
  }
}

/** Whether the mark of a time would not be cut at an edge of the chart. */
function fits(plot, timeS) {
  const x = plot.valToPos(timeS, 'x')
  return x > -AXIS_PX / 2 && x < plot.over.clientWidth - HALF_TIME_PX
}
