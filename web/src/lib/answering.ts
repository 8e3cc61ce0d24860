/** Questions and answers: sending, trying again, other answers, edits. */
import { ApiError, Away } from './api'
import { Completion, type Question } from './completion'
import { begin, change, conversations, current, newId, open, put } from './conversations'
import { lastModel } from './prefs'
import { began, ended, running, type Running } from './running'
import { pick, refresh, server, whenUp } from './server'
import { add, asked, path, replace, titleOf } from './tree'
import type { Conversation, Ending, Message } from './types'
import { shown } from './view'

/** How often a server that is busy is asked again, and how long it is waited for where it does not say. */
const TRIES = 8
const WAITS = [1, 2, 4, 8, 15]

/** Milliseconds between one writing down of what came so far and the next. */
const KEEP = 1000

/** Send a question in the open conversation; one begins where none is open. */
export function send(text: string): void {
  const id = current.get() ?? begin().id
  const conversation = conversations.get().get(id)
  if (conversation) say(conversation, text, conversation.leaf)
}

/** Ask in other words: a branch beside the question as it was. */
export function edit(conversation: Conversation, message: Message, text: string): void {
  say(conversation, text, message.parent)
}

function say(conversation: Conversation, text: string, parent: string | null): void {
  const message: Message = { id: newId(), parent, role: 'user', content: text, created: Date.now() }
  change(conversation.id, (one) => ({
    ...add(one, message),
    title: one.named || one.messages.length ? one.title : titleOf(text),
    updated: Date.now(),
  }))
  void answer(conversation.id, message.id)
}

/** Another answer beside this one; in its place, where nothing came of it. */
export function regenerate(conversation: Conversation, message: Message): void {
  if (running.get().has(conversation.id)) return
  if (!message.content && !message.reasoning) {
    change(conversation.id, (one) => ({ ...one, messages: one.messages.filter((other) => other.id !== message.id), leaf: message.parent }))
  }
  if (message.parent !== null) void answer(conversation.id, message.parent)
}

async function answer(id: string, parent: string): Promise<void> {
  const conversation = conversations.get().get(id)
  if (!conversation || running.get().has(id)) return
  const model = pick(server.get().models, conversation.model, lastModel.get())?.id
  let message: Message = { id: newId(), parent, role: 'assistant', content: '', created: Date.now() }
  if (model !== undefined) message.model = model
  change(id, (one) => ({ ...add(one, message), updated: Date.now() }))
  const question = { model, messages: asked(conversation.settings.system, path({ ...conversation, leaf: parent })), settings: conversation.settings }
  const one = began(id, message.id)
  const completion = new Completion()
  const keep = (more: Partial<Message>): void => {
    message = { ...message, content: completion.content, ...more }
    if (completion.reasoning) message = { ...message, reasoning: completion.reasoning, thought: completion.thought }
    change(id, (kept) => replace(kept, message))
  }
  const keeping = setInterval(() => completion.begun && keep({}), KEEP)
  const leaving = (): void => keep({})
  addEventListener('pagehide', leaving, { capture: true })
  const how = await attempts(completion, question, one)
  clearInterval(keeping)
  removeEventListener('pagehide', leaving, { capture: true })
  keep({ ...how, ...(completion.begun ? { figures: completion.figures } : {}) })
  ended(id)
  if (how.ending === 'stop') void refresh()
}

/** Ask until there is an answer, or a reason to give up. */
async function attempts(completion: Completion, question: Question, one: Running): Promise<{ ending: Ending; error?: string }> {
  const { signal } = one.controller
  const show = frames(completion, one)
  for (let tried = 0; ; tried++) {
    try {
      await completion.run({ ...question, model: question.model ?? pick(server.get().models)?.id }, signal, show)
      if (completion.finish) return { ending: completion.finish === 'length' ? 'length' : 'stop' }
      return { ending: 'cut', error: 'The connection ended before the answer did.' }
    } catch (error) {
      if (signal.aborted) return { ending: 'stopped' }
      if (!(error instanceof ApiError)) void refresh()
      if (completion.begun) return { ending: 'cut', error: error instanceof ApiError ? error.message : 'The connection broke off.' }
      const failure = await held(error, tried, one)
      if (failure !== null) return signal.aborted ? { ending: 'stopped' } : { ending: 'error', error: failure }
    }
  }
}

/** Wait until it is worth another try: null. What is wrong, where it is not. */
async function held(error: unknown, tried: number, { live, controller: { signal } }: Running): Promise<string | null> {
  const hold = (why: string, until: number | null): void => live.update((now) => ({ ...now, hold: { why, until } }))
  try {
    if (error instanceof Away) {
      hold('Waiting for the server', null)
      await whenUp(signal)
    } else if (error instanceof ApiError && [429, 503].includes(error.status) && tried < TRIES) {
      const wait = error.retryAfter ?? WAITS[Math.min(tried, WAITS.length - 1)]!
      hold(error.status === 429 ? 'The server is busy' : 'The server is not ready', Date.now() + wait * 1000)
      await sleep(wait * 1000, signal)
    } else {
      if (error instanceof ApiError && error.status === 401) shown.update((view) => ({ ...view, dialog: 'key' }))
      return error instanceof Error ? error.message : String(error)
    }
  } catch {
    return 'stopped' // while it waited
  }
  live.update((now) => ({ ...now, hold: null }))
  return null
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(signal.reason)
    })
  })
}

/** Shows what came, once a frame. */
function frames(completion: Completion, { live }: Running): () => void {
  let asked = false
  return () => {
    if (asked) return
    asked = true
    requestAnimationFrame(() => {
      asked = false
      live.set({ content: completion.content, reasoning: completion.reasoning, hold: null })
    })
  }
}

/** A conversation of its own with what was said up to here. */
export function fork(conversation: Conversation, message: Message): void {
  const said = path({ ...conversation, leaf: message.id })
  const title = `${conversation.title} (fork)`
  const copy = { ...conversation, id: newId(), title, named: true, created: Date.now(), updated: Date.now(), messages: said, leaf: message.id }
  put(copy)
  open(copy.id)
}
