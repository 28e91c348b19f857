// Flot behind two functions; it finds itself below window.jQuery.

const { plot: draw } = globalThis.jQuery

const OPTIONS = {
  series: { color: '#edc240', shadowSize: 3, lines: { show: true, lineWidth: 2 } },
  grid: { borderWidth: 2, color: '#545454' },
  xaxis: {
    mode: 'time', timeBase: 'milliseconds', timezone: 'browser', timeformat: '%H:%M:%S', minTickSize: [1, 'second'],
    autoScale: 'exact', showMinorTicks: false,
  },
  yaxis: { min: 0, max: 5, tickDecimals: 0, autoScale: 'none', showMinorTicks: false },
}

/**
 * A graph in `place`, as large as it is.
 * @param {HTMLElement} place
 * @returns {(points: readonly ([number, number] | null)[], range: [number, number]) => void} draws
 */
export function graph(place) {
  const plot = draw(place, [[]], OPTIONS)
  return (points, [min, max]) => {
    if (place.clientWidth !== plot.getSurface().width) plot.resize()
    Object.assign(plot.getYAxes()[0].options, { min, max })
    plot.setData([points])
    plot.setupGrid(true) // true: by the new data, where the axis says so
    plot.draw()
  }
}
