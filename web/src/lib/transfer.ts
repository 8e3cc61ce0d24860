/** Conversations as files, and back. */
import { checked } from './checked'
import { conversations, newId, open, put } from './conversations'
import { notify } from './notices'
import { path } from './tree'
import type { Conversation } from './types'

const FORMAT = 'heron-conversations'

export function toJson(all: Conversation[]): string {
  return `${JSON.stringify({ format: FORMAT, version: 1, conversations: all }, null, 1)}\n`
}

/** The branch that is being read. */
export function toMarkdown(conversation: Conversation): string {
  const parts = [`# ${conversation.title}`]
  if (conversation.settings.system) parts.push(`> ${conversation.settings.system.replaceAll('\n', '\n> ')}`)
  for (const message of path(conversation)) {
    parts.push(`## ${message.role === 'user' ? 'You' : (message.model ?? 'Answer')}`)
    if (message.reasoning) parts.push(`<details><summary>Reasoning</summary>\n\n${message.reasoning}\n\n</details>`)
    parts.push(message.content)
  }
  return `${parts.join('\n\n')}\n`
}

/** What a file holds. Throws an Error that says what is wrong with it. */
export function fromJson(text: string): Conversation[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Error('The file is not JSON.')
  }
  const listed = (value as { conversations?: unknown } | null)?.conversations ?? value
  const found = (Array.isArray(listed) ? listed : [listed]).map(checked).filter((conversation) => conversation !== null)
  if (!found.length) throw new Error('The file holds no conversation that Heron wrote.')
  return found
}

/** Put a file's conversations beside those that are there; none is written over. */
export async function importFile(file: File): Promise<void> {
  try {
    const found = fromJson(await file.text())
    const added = found.map((one) => (conversations.get().has(one.id) ? { ...one, id: newId() } : one))
    added.forEach(put)
    open(added[0]!.id)
    notify(added.length === 1 ? 'One conversation is imported.' : `${added.length} conversations are imported.`)
  } catch (error) {
    notify(error instanceof Error ? error.message : String(error), 'error')
  }
}

export function download(name: string, text: string, type: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(new Blob([text], { type }))
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

const fileName = (title: string): string => title.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '').slice(0, 60).toLowerCase() || 'chat'

export const saveMarkdown = (one: Conversation): void => download(`${fileName(one.title)}.md`, toMarkdown(one), 'text/markdown')
export const saveJson = (one: Conversation): void => download(`${fileName(one.title)}.json`, toJson([one]), 'application/json')
export const saveAll = (): void => download('heron-conversations.json', toJson([...conversations.get().values()]), 'application/json')
