/** Short notes at the foot of the page. */
import { Store } from './store'

export interface Notice {
  id: number
  text: string
  kind: 'note' | 'error'
  action?: { label: string; run: () => void }
}

export const notices = new Store<readonly Notice[]>([])

let next = 1

/** Say it. An error stays until it is put away. */
export function notify(text: string, kind: Notice['kind'] = 'note', action?: Notice['action']): void {
  const notice: Notice = action ? { id: next++, text, kind, action } : { id: next++, text, kind }
  notices.update((all) => [...all.filter((other) => other.text !== text).slice(-2), notice])
}

export const dismiss = (id: number): void => notices.update((all) => all.filter((notice) => notice.id !== id))
