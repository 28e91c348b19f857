// Which row a pointer means: one that it is near, or whose line it is on. Pure.

/**
 * @param {{times: ArrayLike<number>, breaks: ArrayLike<number>}} rows
 * @param {number} row the nearest
 * @param {number} timeS of the pointer
 * @param {number} nearS how far from a lone row is still at it
 * @returns {number | null} null where nothing is drawn
 */
export function pointed({ times, breaks }, row, timeS, nearS) {
  if (!(row >= 0 && row < times.length)) return null
  if (Math.abs(times[row] - timeS) <= nearS) return row
  const later = timeS > times[row] ? row + 1 : row
  const isOnLine = later > 0 && later < times.length && !breaks[later]
  return isOnLine ? row : null
}
