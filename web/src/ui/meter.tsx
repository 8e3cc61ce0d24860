/** How much of the model's context the conversation fills, as of its last answer. */
import type { ReactNode } from 'react'
import { count, short } from '../lib/format'
import { path } from '../lib/tree'
import type { Conversation, Model } from '../lib/types'
import { toggle } from '../lib/view'

export function Meter({ conversation, model, open }: { conversation: Conversation; model: Model | undefined; open: boolean }): ReactNode {
  const length = model?.context_length
  const figures = path(conversation).findLast((message) => message.figures?.promptTokens !== undefined)?.figures
  const prompt = figures?.promptTokens ?? 0
  const used = prompt + (figures?.tokens ?? 0)
  const cached = figures?.cachedTokens ?? 0
  if (!length) return null
  const of = (tokens: number): string => `${Math.min(100, (100 * tokens) / length)}%`
  const words = used ? `${count(used)} of ${count(length)} tokens of context used` : `A context of ${count(length)} tokens`
  return (
    <button
      type="button"
      className={`meter${used > 0.9 * length ? ' full' : ''}`}
      aria-expanded={open}
      title={`${words}${cached ? `; ${count(cached)} of the last prompt came from the prefix cache` : ''}. Click to inspect.`}
      onClick={() => toggle('inspector')}
    >
      <span className="meter-track">
        <span className="meter-used" style={{ width: of(used) }} />
        <span className="meter-cached" style={{ width: of(cached) }} />
      </span>
      <span className="unseen">{words}. Inspect the prompt.</span>
      <span className="meter-words" aria-hidden="true">{used ? `${short(used)} / ${short(length)}` : `${short(length)} context`}</span>
    </button>
  )
}
