// A line through rows, as moves of a pen: never across a hole, over missing values, and at most four
// points a pixel column. Pure; the pen is anything with moveTo, lineTo and dot.

/** @typedef {{moveTo(x: number, y: number): void, lineTo(x: number, y: number): void, dot(x: number, y: number): void}} Pen */

/**
 * @param {Pen} pen
 * @param {{times: ArrayLike<number>, values: ArrayLike<number>, breaks: ArrayLike<number>}} rows
 * @param {(timeS: number) => number} toX pixels
 * @param {(value: number) => number} toY pixels
 */
export function trace(pen, { times, values, breaks }, toX, toY) {
  let isDown = false
  let isAlone = true
  let columnX = NaN
  let [first, least, largest, last] = [0, 0, 0, 0]
  const finishColumn = () => {
    // What many values on one pixel column look like: in at the first, over both ends, out at the last.
    if (least === first && largest === first) return
    isAlone = false
    pen.lineTo(columnX, toY(least))
    pen.lineTo(columnX, toY(largest))
    pen.lineTo(columnX, toY(last))
  }
  const finishStretch = () => {
    if (!isDown) return
    finishColumn()
    // A line of no length draws nothing, whatever its ends.
    if (isAlone) pen.dot(columnX, toY(last))
    isDown = false
  }
  for (let row = 0; row < times.length; row++) {
    const value = values[row]
    if (breaks[row]) finishStretch()
    if (Number.isNaN(value)) continue
    const x = toX(times[row])
    if (isDown && Math.floor(x) === Math.floor(columnX)) {
      if (value < least) least = value
      if (value > largest) largest = value
      last = value
      continue
    }
    if (isDown) {
      finishColumn()
      pen.lineTo(x, toY(value))
    } else {
      pen.moveTo(x, toY(value))
    }
    isAlone = !isDown
    isDown = true
    columnX = x
    first = least = largest = last = value
  }
  finishStretch()
}

/**
 * A pen that draws the line and, for each stretch of it, the area down to a floor.
 * @param {Pen} line
 * @param {Pen} area
 * @param {number} floorY pixels
 * @returns {Pen & {finish(): void}}
 */
export function filling(line, area, floorY) {
  let lastX = NaN
  const finish = () => { if (!Number.isNaN(lastX)) area.lineTo(lastX, floorY) }
  return {
    moveTo(x, y) {
      finish()
      line.moveTo(x, y)
      area.moveTo(x, floorY)
      area.lineTo(x, y)
      lastX = x
    },
    lineTo(x, y) {
      line.lineTo(x, y)
      area.lineTo(x, y)
      lastX = x
    },
    dot: (x, y) => line.dot(x, y),
    finish,
  }
}
