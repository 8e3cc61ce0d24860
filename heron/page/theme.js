// Before anything is painted, so that nothing flashes: the theme that the reader chose, if it is not the system's.
try {
  const theme = JSON.parse(localStorage.getItem('heron.theme'))
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // Storage is closed to this page: the system's theme it is.
}
