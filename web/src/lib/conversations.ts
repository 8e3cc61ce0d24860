/** The conversations of this browser: in memory, and written down behind. */
import { checked } from './checked'
import { erase, readAll, readOne, write } from './database'
import { notify } from './notices'
import { defaults } from './prefs'
import { Store } from './store'
import type { Conversation } from './types'

type All = ReadonlyMap<string, Conversation>

export const conversations = new Store<All>(new Map())

/** The one that is open; null is one that has not begun. */
export const current = new Store<string | null>(null)

/** What the next conversation begins with. */
export const blank = new Store<Conversation>(fresh())

/** False until the browser's conversations are there. */
export const loaded = new Store(false)

export function newId(): string {
  // Not randomUUID, which browsers keep from pages of plain HTTP that are not this machine's.
  const bytes = crypto.getRandomValues(new Uint8Array(12))
  return Array.from(bytes, (byte) => byte.toString(36).padStart(2, '0')).join('')
}

export function fresh(): Conversation {
  const now = Date.now()
  const settings = structuredClone(defaults.get())
  return { id: newId(), title: 'New chat', named: false, created: now, updated: now, model: null, settings, messages: [], leaf: null }
}

export const opened = (all: All, id: string | null, empty: Conversation): Conversation => (id === null ? empty : (all.get(id) ?? empty))

/** Change one, and write it down. The blank one is changed where it is. */
export function change(id: string, how: (conversation: Conversation) => Conversation): void {
  if (blank.get().id === id) {
    blank.update(how)
    return
  }
  const conversation = conversations.get().get(id)
  if (!conversation) return
  put(how(conversation))
}

export function put(conversation: Conversation): void {
  conversations.update((all) => new Map(all).set(conversation.id, conversation))
  unwritten.add(conversation.id)
  timer ||= window.setTimeout(writeDown)
}

/** Delete one, and say how to have it back. */
export function remove(id: string): void {
  const conversation = conversations.get().get(id)
  if (!conversation) return
  conversations.update((all) => new Map([...all].filter(([other]) => other !== id)))
  if (current.get() === id) open(null)
  unwritten.delete(id)
  void erase(id).then(() => channel?.postMessage(id), complain)
  notify(`“${conversation.title}” is deleted.`, 'note', {
    label: 'Undo',
    run: () => {
      put(conversation)
      open(id)
    },
  })
}

/** Read another conversation; it is in the address, so that the browser's back button finds it. */
export function open(id: string | null): void {
  if (id === null && blank.get().messages.length === 0) blank.set({ ...fresh(), model: blank.get().model })
  const hash = id === null ? '' : `#${encodeURIComponent(id)}`
  if (location.hash !== hash) history.pushState(null, '', hash || location.pathname)
  current.set(id)
}

/** The blank one becomes one that is kept. */
export function begin(): Conversation {
  const conversation = { ...blank.get(), created: Date.now() }
  blank.set(fresh())
  put(conversation)
  open(conversation.id)
  return conversation
}

// Writing

const unwritten = new Set<string>()
let timer = 0

export function writeDown(): void {
  clearTimeout(timer)
  timer = 0
  for (const id of unwritten) {
    const conversation = conversations.get().get(id)
    if (conversation) write(conversation).then(() => channel?.postMessage(id), complain)
  }
  unwritten.clear()
}

let complained = false

function complain(error: unknown): void {
  if (complained) return
  complained = true
  const full = error instanceof DOMException && error.name === 'QuotaExceededError'
  const why = full ? 'The browser has no room left for conversations' : 'The browser does not let this page keep conversations'
  notify(`${why}: what is new is lost when the page is closed. Export what you want to keep.`, 'error')
}

// Reading

const channel = 'BroadcastChannel' in window ? new BroadcastChannel('heron') : null

const fromAddress = (): string | null => {
  try {
    const id = decodeURIComponent(location.hash.slice(1))
    return conversations.get().has(id) ? id : null
  } catch {
    return null
  }
}

/** Read what there is, and follow what other tabs change. */
export async function loadConversations(): Promise<void> {
  try {
    const found = (await readAll()).map(checked).filter((conversation) => conversation !== null)
    conversations.set(new Map([...found.map((one) => [one.id, one] as const), ...conversations.get()]))
  } catch (error) {
    complain(error)
  }
  current.set(current.get() ?? fromAddress())
  loaded.set(true)
  addEventListener('popstate', () => current.set(fromAddress()))
  addEventListener('pagehide', writeDown)
  channel?.addEventListener('message', (event: MessageEvent<unknown>) => void follow(event.data))
}

async function follow(id: unknown): Promise<void> {
  if (typeof id !== 'string' || unwritten.has(id)) return
  const conversation = checked(await readOne(id))
  conversations.update((all) => {
    const next = new Map(all)
    if (conversation) next.set(id, conversation)
    else next.delete(id)
    return next
  })
  if (!conversation && current.get() === id) open(null)
}
