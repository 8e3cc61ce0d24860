/** The conversation, and what is being written, as the model will read it: text, tokens, and what need not be computed again. */
import { useEffect, useState, type ReactNode } from 'react'
import { Away, ask } from '../lib/api'
import { bodyOf } from '../lib/completion'
import { count } from '../lib/format'
import { running } from '../lib/running'
import { useStore } from '../lib/store'
import { asked, path } from '../lib/tree'
import type { Conversation, Message, Model } from '../lib/types'
import { drafts } from '../lib/view'
import { CopyButton } from './copy'
import { Panel } from './panel'

interface Token {
  id: number
  piece: string
  special: boolean
}

interface Inspected {
  prompt: string
  tokens: Token[]
  cached_tokens: number
  context_length: number
}

/** Milliseconds without a key before what is written is looked at. */
const PAUSE = 350

export function Inspector({ conversation, model }: { conversation: Conversation; model: Model | undefined }): ReactNode {
  const { seen, failure } = useInspected(conversation, model?.id)
  const [view, setView] = useState<'text' | 'tokens'>('text')
  return (
    <Panel title="Prompt inspector" className="inspector" note="What the model will read next.">
      {failure && <p className="trouble">{failure}</p>}
      {seen && (
        <>
          <Gauge seen={seen} />
          <div className="tabs" role="tablist" aria-label="How it is shown">
            <Tab name="text" label="Text" view={view} set={setView} />
            <Tab name="tokens" label="Token ids" view={view} set={setView} />
            <CopyButton text={view === 'text' ? seen.prompt : JSON.stringify(seen.tokens.map((token) => token.id))} label={view === 'text' ? 'Copy the prompt' : 'Copy the ids'} words />
          </div>
          <Tokens seen={seen} ids={view === 'tokens'} />
          <p className="legend">
            <span className="swatch cached" /> from the prefix cache <span className="swatch special" /> special token
          </p>
        </>
      )}
    </Panel>
  )
}

function Tab({ name, label, view, set }: { name: 'text' | 'tokens'; label: string; view: string; set: (name: 'text' | 'tokens') => void }): ReactNode {
  return (
    <button
      type="button"
      role="tab"
      id={`tab-${name}`}
      aria-controls="tokens"
      aria-selected={view === name}
      tabIndex={view === name ? 0 : -1}
      onClick={() => set(name)}
      onKeyDown={(event) => {
        if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return
        const other = name === 'text' ? 'tokens' : 'text'
        set(other)
        document.getElementById(`tab-${other}`)?.focus()
      }}
    >
      {label}
    </button>
  )
}

function Gauge({ seen }: { seen: Inspected }): ReactNode {
  const used = seen.tokens.length
  const of = (tokens: number): string => `${Math.min(100, (100 * tokens) / seen.context_length)}%`
  return (
    <div className="gauge">
      <div className="gauge-track" role="img" aria-label={`${used} of ${seen.context_length} tokens of context, ${seen.cached_tokens} of them cached`}>
        <span className="gauge-used" style={{ width: of(used) }} />
        <span className="gauge-cached" style={{ width: of(seen.cached_tokens) }} />
      </div>
      <dl>
        <div>
          <dt>prompt</dt>
          <dd>{count(used)}</dd>
        </div>
        <div>
          <dt>cached</dt>
          <dd>{count(seen.cached_tokens)}</dd>
        </div>
        <div>
          <dt>to compute</dt>
          <dd>{count(used - seen.cached_tokens)}</dd>
        </div>
        <div className={used >= seen.context_length ? 'over' : undefined}>
          <dt>context</dt>
          <dd>{count(seen.context_length)}</dd>
        </div>
      </dl>
    </div>
  )
}

/** Tokens in one part of the list, which the browser does not lay out until it is near. */
const PART = 200

function Tokens({ seen, ids }: { seen: Inspected; ids: boolean }): ReactNode {
  const parts = Array.from({ length: Math.ceil(seen.tokens.length / PART) }, (_, at) => seen.tokens.slice(at * PART, (at + 1) * PART))
  return (
    <div className={`tokens${ids ? ' as-ids' : ''}`} id="tokens" role="tabpanel" aria-labelledby={ids ? 'tab-tokens' : 'tab-text'} tabIndex={0}>
      {parts.map((part, at) => (
        <div key={at} className="tokens-part">
          {part.map((token, within) => {
            const place = at * PART + within
            const kind = `token${token.special ? ' special' : ''}${place < seen.cached_tokens ? ' cached' : ''}`
            return (
              <span key={place} className={kind} title={`token ${place}: id ${token.id}${place < seen.cached_tokens ? ', cached' : ''}`}>
                {ids ? <IdAndPiece token={token} /> : token.piece}
              </span>
            )
          })}
        </div>
      ))}
    </div>
  )
}

function IdAndPiece({ token }: { token: Token }): ReactNode {
  return (
    <>
      <b>{token.id}</b> {token.piece.replaceAll('\n', '↵').replaceAll(' ', '·').replaceAll('\t', '⇥')}
    </>
  )
}

/** Asked again when the conversation changes, and when writing pauses; never in the midst of an answer. */
function useInspected(conversation: Conversation, model: string | undefined): { seen: Inspected | null; failure: string } {
  const [seen, setSeen] = useState<Inspected | null>(null)
  const [failure, setFailure] = useState('')
  const draft = useStore(drafts, (all) => all.get(conversation.id) ?? '')
  const busy = useStore(running, (all) => all.has(conversation.id))
  const { settings } = conversation
  const said = path(conversation)
  const upTo = said.map((message) => `${message.id}:${message.content.length}`).join()
  useEffect(() => {
    if (busy) return
    const controller = new AbortController()
    const written: Message[] = draft.trim() ? [{ id: '', parent: null, role: 'user', content: draft.trim(), created: 0 }] : []
    const messages = asked(settings.system, [...said, ...written])
    if (!messages.length) {
      setSeen(null)
      setFailure('Nothing is said yet: write something, or give a system prompt.')
      return
    }
    const timer = setTimeout(async () => {
      try {
        setSeen((await (await ask('/inspect', bodyOf({ model, messages, settings }), controller.signal)).json()) as Inspected)
        setFailure('')
      } catch (error) {
        if (!controller.signal.aborted) setFailure(error instanceof Away || error instanceof Error ? error.message : String(error))
      }
    }, PAUSE)
    return () => {
      clearTimeout(timer)
      controller.abort()
    }
  }, [upTo, draft, busy, model, settings])
  return { seen, failure }
}
