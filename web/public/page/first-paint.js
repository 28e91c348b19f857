// A classic script, on purpose: it runs before the first paint, so that no page flashes in the other
// theme. What the viewer chose, else what the system prefers; theme.js goes on from there.
{
  let chosen = null
  try {
    chosen = localStorage.getItem('penstock-theme')
  } catch {
    // Storage may be forbidden; then the system's theme holds.
  }
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches
  document.documentElement.dataset.theme = chosen === 'light' || chosen === 'dark' ? chosen : isDark ? 'dark' : 'light'
}
