/** Before the first question. */
import type { ReactNode } from 'react'
import { send } from '../lib/answering'
import { short } from '../lib/format'
import type { Model } from '../lib/types'
import { COMMAND } from './button'
import { Heron } from './icons'

const TRY = ['What can you do?', 'How do I quantize a model?', 'Write a haiku about a heron', 'Show me a Python function that reads a CSV file']

export function Welcome({ model }: { model: Model | undefined }): ReactNode {
  return (
    <div className="welcome">
      <div className="pond">
        <Heron />
        <i />
        <i />
        <i />
      </div>
      <h2>What are we looking for?</h2>
      <p>
        {model ? (
          <>
            <b>{model.id}</b> {model.context_length ? `reads up to ${short(model.context_length)} tokens` : 'is ready'}. Nothing leaves this server.
          </>
        ) : (
          'Nothing leaves this server.'
        )}
      </p>
      <div className="try">
        {TRY.map((text) => (
          <button type="button" key={text} onClick={() => send(text)}>
            {text}
          </button>
        ))}
      </div>
      <p className="welcome-keys only-wide">
        <kbd>{COMMAND}K</kbd> finds anything <kbd>?</kbd> shows the keys
      </p>
    </div>
  )
}
