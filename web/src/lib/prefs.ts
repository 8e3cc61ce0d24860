/** Small things that this browser remembers. Where it does not let a page store anything, they last as long as the page. */
import { Store } from './store'
import type { Settings } from './types'

function kept<T>(name: string, otherwise: T, valid: (value: unknown) => value is T): Store<T> {
  const key = `heron.${name}`
  const store = new Store(read(key, otherwise, valid))
  store.subscribe(() => {
    try {
      const value = store.get()
      if (value === null || value === otherwise) localStorage.removeItem(key)
      else localStorage.setItem(key, JSON.stringify(value))
    } catch {
      // Storage is closed or full.
    }
  })
  addEventListener('storage', (event) => event.key === key && store.set(read(key, otherwise, valid)))
  return store
}

function read<T>(key: string, otherwise: T, valid: (value: unknown) => value is T): T {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? 'null')
    return valid(value) ? value : otherwise
  } catch {
    return otherwise
  }
}

export type Theme = 'system' | 'light' | 'dark'
const isTheme = (value: unknown): value is Theme => value === 'system' || value === 'light' || value === 'dark'
const isText = (value: unknown): value is string => typeof value === 'string'
const isFlag = (value: unknown): value is boolean => typeof value === 'boolean'
const isObject = (value: unknown): value is Settings => typeof value === 'object' && value !== null && !Array.isArray(value)

export const theme = kept('theme', 'system', isTheme)
export const apiKey = kept('key', '', isText)
export const lastModel = kept('model', '', isText)
export const sidebarOpen = kept('sidebar', true, isFlag)
export const defaults = kept<Settings>('defaults', {}, isObject)

const showTheme = (): void => {
  const chosen = theme.get()
  if (chosen === 'system') delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = chosen
}
theme.subscribe(showTheme)
showTheme()
