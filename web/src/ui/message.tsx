/** One message: a question, or an answer with what can be done with it. */
import { Component, memo, useEffect, useState, type ReactNode } from 'react'
import { edit, fork, regenerate } from '../lib/answering'
import { change, conversations } from '../lib/conversations'
import { running, stop, type Live } from '../lib/running'
import { useStore, type Store } from '../lib/store'
import { choose } from '../lib/tree'
import type { Conversation, Message } from '../lib/types'
import { focusComposer, show, shown } from '../lib/view'
import { IconButton } from './button'
import { CopyButton } from './copy'
import { FiguresLine } from './figures'
import { Markdown } from './markdown'
import { Reasoning } from './reasoning'

interface Props {
  conversation: string
  message: Message
  /** It and its alternatives. */
  versions: string[]
  last: boolean
}

const here = (id: string): Conversation => conversations.get().get(id)!

export const MessageView = memo(
  function MessageView(props: Props): ReactNode {
    return props.message.role === 'user' ? <Question {...props} /> : <Answer {...props} />
  },
  (a, b) => a.message === b.message && a.last === b.last && a.conversation === b.conversation && a.versions.join() === b.versions.join(),
)

function Question({ conversation, message, versions }: Props): ReactNode {
  const editing = useStore(shown, (view) => view.editing === message.id)
  if (editing) return <Editor conversation={conversation} message={message} />
  return (
    <article className="message question" aria-label="You">
      <div className="bubble" dir="auto">
        {message.content}
      </div>
      <div className="actions">
        <Pager conversation={conversation} message={message} versions={versions} />
        <CopyButton text={message.content} label="Copy question" />
        <IconButton icon="edit" label="Edit question" onClick={() => show({ editing: message.id })} />
      </div>
    </article>
  )
}

function Editor({ conversation, message }: { conversation: string; message: Message }): ReactNode {
  const [text, setText] = useState(message.content)
  const close = (): void => {
    show({ editing: null })
    focusComposer()
  }
  const save = (): void => {
    if (!text.trim() || running.get().has(conversation)) return
    close()
    edit(here(conversation), message, text)
  }
  return (
    <form
      className="message question editor"
      onSubmit={(event) => {
        event.preventDefault()
        save()
      }}
      onKeyDown={(event) => {
        if (event.key === 'Escape') {
          event.stopPropagation()
          close()
        } else if (event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing) {
          event.preventDefault()
          save()
        }
      }}
    >
      <textarea aria-label="Edit question" value={text} rows={Math.min(14, text.split('\n').length + 1)} autoFocus onChange={(event) => setText(event.target.value)} />
      <div className="editor-foot">
        <span>A new branch: the earlier question stays beside it.</span>
        <button type="button" className="button" onClick={close}>
          Cancel
        </button>
        <button type="submit" className="button primary" disabled={!text.trim()}>
          Ask
        </button>
      </div>
    </form>
  )
}

function Answer(props: Props): ReactNode {
  const { conversation, message, last } = props
  const live = useStore(running, (all) => {
    const one = all.get(conversation)
    return one?.message === message.id ? one.live : null
  })
  return (
    <article className={`message answer${last ? ' last' : ''}`} aria-label={`Answer${message.model ? ` of ${message.model}` : ''}`} aria-busy={live !== null}>
      <Fallback text={message.content}>
        {live ? <LiveBody live={live} /> : <Body content={message.content} reasoning={message.reasoning ?? ''} thought={message.thought} />}
      </Fallback>
      {!live && <Ended {...props} />}
      {live && <Holding live={live} conversation={conversation} />}
    </article>
  )
}

function Body({ content, reasoning, thought, live = false }: { content: string; reasoning: string; thought?: number | undefined; live?: boolean }): ReactNode {
  return (
    <>
      {reasoning && <Reasoning text={reasoning} live={live && !content} seconds={thought} />}
      {content && <Markdown text={content} live={live} />}
    </>
  )
}

function LiveBody({ live }: { live: Store<Live> }): ReactNode {
  const { content, reasoning, hold } = useStore(live)
  return (
    <>
      <Body content={content} reasoning={reasoning} live />
      {!hold && !content && !reasoning && (
        <div className="ripple" role="img" aria-label="Reading the prompt">
          <i />
          <i />
          <i />
        </div>
      )}
    </>
  )
}

/** Why nothing comes yet. */
function Holding({ live, conversation }: { live: Store<Live>; conversation: string }): ReactNode {
  const hold = useStore(live, (now) => now.hold)
  const left = useSecondsTo(hold?.until ?? null)
  if (!hold) return null
  return (
    <div className="trouble waiting" role="status">
      <span>
        {hold.why}
        {hold.until === null ? ' …' : left > 0 ? `. Trying again in ${left} s.` : '. Trying again …'}
      </span>
      <button type="button" className="button" onClick={() => stop(conversation)}>
        Give up
      </button>
    </div>
  )
}

export function useSecondsTo(until: number | null): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    if (until === null) return
    setNow(Date.now())
    const timer = setInterval(() => setNow(Date.now()), 250)
    return () => clearInterval(timer)
  }, [until])
  return until === null ? 0 : Math.max(0, Math.ceil((until - now) / 1000))
}

const SAID = {
  cut: 'This answer was cut off.',
  stopped: 'Stopped.',
  length: 'The answer reached its longest length (max_tokens, or the end of the context).',
  error: '',
  stop: '',
}

function Ended({ conversation, message, versions }: Props): ReactNode {
  const ending = message.ending ?? 'cut'
  const again = (): void => regenerate(here(conversation), message)
  const trouble = ending === 'error' || ending === 'cut'
  return (
    <>
      {trouble && (
        <div className="trouble" role="alert">
          <span>
            {SAID[ending]} {message.error}
          </span>
          <button type="button" className="button" onClick={again}>
            Retry
          </button>
        </div>
      )}
      {ending === 'length' && <p className="aside">{SAID.length}</p>}
      {ending === 'stopped' && <p className="aside">{SAID.stopped}</p>}
      <div className="actions">
        {message.figures && <FiguresLine figures={message.figures} model={message.model} />}
        <Pager conversation={conversation} message={message} versions={versions} />
        {message.content && <CopyButton text={message.content} label="Copy answer" />}
        <IconButton icon="again" label="Another answer" keys="R" data-again onClick={again} />
        <IconButton icon="fork" label="Go on in a new chat from here" onClick={() => fork(here(conversation), message)} />
      </div>
    </>
  )
}

function Pager({ conversation, message, versions }: Omit<Props, 'last'>): ReactNode {
  const at = versions.indexOf(message.id)
  if (versions.length < 2) return null
  const go = (to: number): void => change(conversation, (one) => choose(one, versions[to]!))
  return (
    <span className="pager" role="group" aria-label="Versions">
      <IconButton icon="left" label="Earlier version" disabled={at <= 0} onClick={() => go(at - 1)} />
      <span>
        {at + 1}/{versions.length}
      </span>
      <IconButton icon="right" label="Later version" disabled={at >= versions.length - 1} onClick={() => go(at + 1)} />
    </span>
  )
}

/** What cannot be drawn is shown as text. */
class Fallback extends Component<{ text: string; children: ReactNode }, { failed: boolean }> {
  override state = { failed: false }
  static getDerivedStateFromError = (): { failed: boolean } => ({ failed: true })
  override render(): ReactNode {
    return this.state.failed ? <p className="as-written">{this.props.text}</p> : this.props.children
  }
}
