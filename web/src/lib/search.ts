/** Conversations by what was said in them. */
import type { Conversation } from './types'

const folded = (text: string): string => text.toLocaleLowerCase()

/** Those that hold every word, those with a word in their title first; all of them for no words. Later ones come first. */
export function found(all: Conversation[], sought: string): Conversation[] {
  const words = folded(sought).split(/\s+/).filter(Boolean)
  const recent = all.toSorted((a, b) => b.updated - a.updated)
  if (!words.length) return recent
  const matching = recent.filter((one) => {
    const text = folded([one.title, ...one.messages.map((message) => message.content)].join('\n'))
    return words.every((word) => text.includes(word))
  })
  const named = (one: Conversation): boolean => words.some((word) => folded(one.title).includes(word))
  return [...matching.filter(named), ...matching.filter((one) => !named(one))]
}

/** A little of the text around the first word that is found in the messages. */
export function excerpt(one: Conversation, sought: string): string {
  const word = folded(sought).split(/\s+/).find(Boolean)
  if (!word) return ''
  for (const { content } of one.messages) {
    const at = folded(content).indexOf(word)
    if (at >= 0) return `${at > 24 ? '…' : ''}${content.slice(Math.max(0, at - 24), at + 70)}`.replace(/\s+/g, ' ')
  }
  return ''
}
