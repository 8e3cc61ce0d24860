/** Conversations of files and of older versions, as they must be: what is none is left out. */
import type { Conversation, Ending, Figures, Message, Settings } from './types'

type Fields = Record<string, unknown>

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)
const number = (value: unknown): number | undefined => (typeof value === 'number' && Number.isFinite(value) ? value : undefined)
const fields = (value: unknown): Fields | null => (typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : null)

const ENDINGS: readonly string[] = ['stop', 'length', 'stopped', 'cut', 'error'] satisfies Ending[]

const NUMBERS = ['temperature', 'top_p', 'top_k', 'min_p', 'repeat_penalty', 'max_tokens', 'seed'] as const

export function checkedSettings(value: unknown): Settings {
  const given = fields(value) ?? {}
  const found: Settings = {}
  for (const name of NUMBERS) {
    const value = number(given[name])
    if (value !== undefined) found[name] = value
  }
  if (text(given['system'])) found.system = text(given['system'])
  if (typeof given['thinking'] === 'boolean') found.thinking = given['thinking']
  if (Array.isArray(given['stop'])) found.stop = given['stop'].filter((one): one is string => typeof one === 'string' && one !== '')
  return found
}

/** The conversation, or null where it is none. */
export function checked(value: unknown): Conversation | null {
  const given = fields(value)
  if (!given || !text(given['id']) || !Array.isArray(given['messages'])) return null
  const messages = given['messages'].map(checkedMessage).filter((message) => message !== null)
  const ids = new Set(messages.map((message) => message.id))
  if (ids.size < messages.length) return null
  for (const message of messages) if (message.parent !== null && !ids.has(message.parent)) message.parent = null
  const created = number(given['created']) ?? Date.now()
  const leaf = text(given['leaf'])
  return {
    id: text(given['id'])!,
    title: (text(given['title']) ?? 'Imported chat').slice(0, 300),
    named: given['named'] === true,
    created,
    updated: number(given['updated']) ?? created,
    model: text(given['model']) ?? null,
    settings: checkedSettings(given['settings']),
    messages,
    leaf: leaf && ids.has(leaf) ? leaf : (messages.at(-1)?.id ?? null),
  }
}

function checkedMessage(value: unknown): Message | null {
  const given = fields(value)
  const [id, content, role] = [text(given?.['id']), text(given?.['content']), given?.['role']]
  if (!given || !id || content === undefined || (role !== 'user' && role !== 'assistant')) return null
  const found: Message = { id, content, role, parent: text(given['parent']) ?? null, created: number(given['created']) ?? 0 }
  if (role === 'user') return found
  const ending = text(given['ending'])
  // One that has no ending was being written when the page went away.
  found.ending = ending && ENDINGS.includes(ending) ? (ending as Ending) : 'cut'
  for (const name of ['reasoning', 'model', 'error'] as const) if (text(given[name])) found[name] = text(given[name])
  if (number(given['thought']) !== undefined) found.thought = number(given['thought'])
  const figures = fields(given['figures'])
  if (figures) found.figures = checkedFigures(figures)
  return found
}

function checkedFigures(given: Fields): Figures {
  const found: Figures = { tokens: number(given['tokens']) ?? 0, counted: given['counted'] === true }
  for (const name of ['promptTokens', 'cachedTokens', 'first', 'seconds'] as const) {
    const value = number(given[name])
    if (value !== undefined) found[name] = value
  }
  return found
}
