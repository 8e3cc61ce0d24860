/** Numbers, times and sizes for people. */

const whole = new Intl.NumberFormat('en')
export const count = (value: number): string => whole.format(value)

/** 1024 tokens as 1k, 131072 as 131k. */
export function short(value: number): string {
  if (value < 1000) return String(value)
  return value < 1e6 ? `${+(value / 1000).toFixed(value < 10_000 ? 1 : 0)}k` : `${+(value / 1e6).toFixed(1)}M`
}

export function seconds(value: number): string {
  if (value < 0.0995) return `${Math.max(1, Math.round(value * 1000))} ms`
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`
}

export function speed(value: number): string {
  return `${value < 10 ? value.toFixed(1) : count(Math.round(value))} tokens/s`
}

export function bytes(value: number): string {
  return value >= 1 << 30 ? `${(value / (1 << 30)).toFixed(1)} GB` : `${Math.max(1, Math.round(value / (1 << 20)))} MB`
}

const DAY = 86_400_000

/** Under which heading a conversation stands. */
export function age(then: number, now: number): string {
  const midnight = new Date(now).setHours(0, 0, 0, 0)
  if (then >= midnight) return 'Today'
  if (then >= midnight - DAY) return 'Yesterday'
  if (then >= midnight - 6 * DAY) return 'This week'
  return new Date(then).toLocaleDateString('en', { month: 'long', year: 'numeric' })
}
