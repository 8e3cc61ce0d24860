/** Answers that are being written, one of a conversation at most. */
import { Store } from './store'

/** Of an answer under way, as far as it is shown: once a frame, however many pieces come. */
export interface Live {
  content: string
  reasoning: string
  /** When it is tried again, and why it waits till then. */
  hold: { why: string; until: number | null } | null
}

export interface Running {
  message: string
  live: Store<Live>
  controller: AbortController
}

export const running = new Store<ReadonlyMap<string, Running>>(new Map())

export const stop = (conversation: string): void => running.get().get(conversation)?.controller.abort()

export function began(conversation: string, message: string): Running {
  const one: Running = { message, live: new Store<Live>({ content: '', reasoning: '', hold: null }), controller: new AbortController() }
  running.update((all) => new Map(all).set(conversation, one))
  return one
}

export const ended = (conversation: string): void =>
  running.update((all) => new Map([...all].filter(([other]) => other !== conversation)))
