/** Conversations as trees: an edit or another answer is a branch beside the first one, and nothing is lost. */
import type { Conversation, Message } from './types'

/** The messages that are being read, from the first one on. */
export function path(conversation: Conversation): Message[] {
  const byId = new Map(conversation.messages.map((message) => [message.id, message]))
  const found: Message[] = []
  for (let at = byId.get(conversation.leaf ?? ''); at; at = byId.get(at.parent ?? '')) {
    found.push(at)
    byId.delete(at.id) // a circle, in a file that was made by hand, comes to its end
  }
  return found.reverse()
}

/** A message and its alternatives, in the order in which they came. */
export function siblings(conversation: Conversation, message: Message): Message[] {
  return conversation.messages.filter((other) => other.parent === message.parent)
}

/** Read the branch of this message, down to its latest end. */
export function choose(conversation: Conversation, id: string): Conversation {
  let leaf = id
  const seen = new Set<string>()
  for (let next: string | undefined = id; next && !seen.has(next); ) {
    seen.add((leaf = next))
    next = conversation.messages.findLast((message) => message.parent === leaf)?.id
  }
  return { ...conversation, leaf }
}

/** Put a message in, and read it. */
export function add(conversation: Conversation, message: Message): Conversation {
  return { ...conversation, messages: [...conversation.messages, message], leaf: message.id }
}

export function replace(conversation: Conversation, message: Message): Conversation {
  return { ...conversation, messages: conversation.messages.map((other) => (other.id === message.id ? message : other)) }
}

/** What the server is asked: no empty answers, and no question right after another one, which templates refuse. */
export function asked(system: string | undefined, messages: Message[]): { role: string; content: string }[] {
  const found: { role: string; content: string }[] = system?.trim() ? [{ role: 'system', content: system }] : []
  for (const { role, content } of messages) {
    const last = found.at(-1)
    if (role === 'assistant' && !content) continue
    if (role === 'user' && last?.role === 'user') last.content += `\n\n${content}`
    else found.push({ role, content })
  }
  return found
}

/** A title of the first question. */
export function titleOf(text: string): string {
  const line = text.split('\n').find((line) => line.trim()) ?? ''
  const plain = line.replace(/^[#>\s*-]+/, '').replace(/\s+/g, ' ').trim() || 'New chat'
  return plain.length > 60 ? `${plain.slice(0, 59).trimEnd()}…` : plain
}
