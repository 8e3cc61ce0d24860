/** What an answer took. */
import type { ReactNode } from 'react'
import { count, seconds, speed } from '../lib/format'
import type { Figures } from '../lib/types'

export function FiguresLine({ figures, model }: { figures: Figures; model?: string | undefined }): ReactNode {
  const { tokens, counted, first, seconds: took, promptTokens, cachedTokens } = figures
  const rate = took && tokens > 1 ? (tokens - 1) / took : first ? tokens / first : null
  return (
    <dl className="figures">
      {model && <Figure name="Model" value={model} />}
      <Figure name="Length" value={`${counted ? '' : '≈ '}${count(tokens)} tokens`} />
      {rate !== null && <Figure name="Speed" value={speed(rate)} />}
      {first !== undefined && <Figure name="Time to first token" value={`first after ${seconds(first)}`} />}
      {promptTokens !== undefined && (
        <Figure
          name="Prompt, and how much of it the prefix cache held"
          value={`prompt ${count(promptTokens)}${cachedTokens ? `, ${count(cachedTokens)} cached` : ''}`}
        />
      )}
    </dl>
  )
}

function Figure({ name, value }: { name: string; value: string }): ReactNode {
  return (
    <div title={name}>
      <dt className="unseen">{name}</dt>
      <dd>{value}</dd>
    </div>
  )
}
