/** Whether the server is there, and which models it has. */
import { ApiError, ask } from './api'
import { apiKey } from './prefs'
import { Store } from './store'
import type { Model } from './types'

/** `locked`: it wants a key. */
export type Status = 'connecting' | 'up' | 'loading' | 'draining' | 'away' | 'locked'

export interface Server {
  status: Status
  models: Model[]
  /** When it is asked again by itself, where it is not up. */
  next: number
}

export const server = new Store<Server>({ status: 'connecting', models: [], next: 0 })

/** Milliseconds between looking, one time after another, while nobody answers. */
const PATIENCE = [1000, 1000, 2000, 3000, 5000]
const LOOK = 10_000

let timer = 0
let failures = 0
let looking: Promise<void> | null = null

/** Ask now. */
export function refresh(): Promise<void> {
  looking ??= look().finally(() => (looking = null))
  return looking
}

async function look(): Promise<void> {
  clearTimeout(timer)
  let status: Status
  let models = server.get().models
  try {
    const told = (await (await ask('/v1/models')).json()) as { data?: Model[] }
    models = (told.data ?? []).filter((model) => typeof model.id === 'string')
    status = 'up'
  } catch (error) {
    status = statusOf(error)
  }
  failures = status === 'up' ? 0 : failures + 1
  let wait = PATIENCE[Math.min(failures - 1, PATIENCE.length - 1)] ?? LOOK
  if (status === 'up') wait = models.some((model) => model.status === 'loading') ? 1500 : LOOK
  if (status === 'loading') wait = 700
  server.set({ status, models, next: Date.now() + wait })
  if (status !== 'locked') timer = window.setTimeout(again, wait)
}

/** Nobody reads a page that is hidden; what runs there notices by itself when the server goes. */
function again(): void {
  if (document.hidden) return
  const { status, models } = server.get()
  if (status !== 'up' || models.some((model) => model.status === 'loading')) return void refresh()
  // While all is well, by what no log has a line for.
  ask('/health').then(
    () => {
      clearTimeout(timer)
      timer = window.setTimeout(again, LOOK)
    },
    () => void refresh(),
  )
}

function statusOf(error: unknown): Status {
  if (!(error instanceof ApiError)) return 'away'
  if (error.status === 401 || error.status === 403) return 'locked'
  if (error.status === 503) return error.code === 'loading' ? 'loading' : 'draining'
  return error.status === 404 ? 'up' : 'away'
}

/** Resolves once the server is up. Rejects where `signal` says that nobody waits any more. */
export function whenUp(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      if (!signal.aborted && server.get().status !== 'up') return
      unsubscribe()
      signal.removeEventListener('abort', done)
      if (signal.aborted) reject(signal.reason)
      else resolve()
    }
    const unsubscribe = server.subscribe(done)
    signal.addEventListener('abort', done)
    done()
  })
}

export const canChat = (model: Model): boolean => model.capabilities?.includes('chat') ?? true

/** The one of this name; else one that can chat, best one that is loaded. */
export function pick(models: Model[], ...names: (string | null)[]): Model | undefined {
  const able = models.filter(canChat)
  const named = names.map((name) => able.find((model) => model.id === name)).find(Boolean)
  return named ?? able.find((model) => model.status === 'loaded') ?? able[0]
}

export function watchServer(): void {
  void refresh()
  apiKey.subscribe(() => void refresh())
  addEventListener('online', () => void refresh())
  document.addEventListener('visibilitychange', () => document.hidden || void refresh())
}
