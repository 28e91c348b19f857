// Hatched stretches: where events are missing, nothing may look like a measurement.

const STEP_PX = 6
const LEAST_PX = 4

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{left: number, top: number, width: number, height: number}} plot canvas pixels
 * @param {[x0: number, x1: number][]} stretches canvas pixels
 * @param {{line: string, ground: string}} colors
 * @param {number} ratio canvas pixels a CSS pixel
 */
export function hatch(context, { left, top, width, height }, stretches, colors, ratio) {
  const step = STEP_PX * ratio
  for (const [x0, x1] of stretches) {
    const from = Math.max(left, x0)
    // A hole between two events of the same millisecond is a hole too, and must be seen.
    const to = Math.min(left + width, Math.max(x1, x0 + LEAST_PX * ratio))
    if (from >= to) continue
    context.save()
    context.beginPath()
    context.rect(from, top, to - from, height)
    context.clip()
    context.fillStyle = colors.ground
    context.fillRect(from, top, to - from, height)
    context.strokeStyle = colors.line
    context.lineWidth = ratio
    context.beginPath()
    // From a fixed origin of the hole, so that the hatching slides with it instead of shimmering.
    for (let x = x0 - height; x < to; x += step) {
      if (x + height < from) continue
      context.moveTo(x, top + height)
      context.lineTo(x + height, top)
    }
    context.stroke()
    context.restore()
  }
}
