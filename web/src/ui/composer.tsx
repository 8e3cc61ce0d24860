/** Where questions are written. Its lower edge is the waterline: how full the model's context is. */
import { useEffect, useLayoutEffect, useRef, type KeyboardEvent, type ReactNode } from 'react'
import { send } from '../lib/answering'
import { running, stop } from '../lib/running'
import { useStore } from '../lib/store'
import { path } from '../lib/tree'
import type { Conversation, Model } from '../lib/types'
import { drafts, setDraft, show, shown } from '../lib/view'
import { Icon } from './icons'
import { Meter } from './meter'

export function Composer({ conversation, model }: { conversation: Conversation; model: Model | undefined }): ReactNode {
  const { id } = conversation
  const text = useStore(drafts, (all) => all.get(id) ?? '')
  const busy = useStore(running, (all) => all.has(id))
  const inspecting = useStore(shown, (view) => view.panel === 'inspector')
  const area = useRef<HTMLTextAreaElement>(null)

  useLayoutEffect(() => {
    const element = area.current!
    element.style.height = 'auto'
    element.style.height = `${element.scrollHeight}px`
  }, [text])
  // A keyboard that slides over half of a phone is not asked for.
  useEffect(() => {
    if (matchMedia('(hover: hover)').matches) area.current?.focus()
  }, [id])

  const submit = (): void => {
    if (!text.trim() || busy) return
    setDraft(id, '')
    send(text.trim())
  }
  const editLast = (): boolean => {
    const last = path(conversation).findLast((message) => message.role === 'user')
    if (last && !busy) show({ editing: last.id })
    return Boolean(last)
  }
  const key = (event: KeyboardEvent): void => {
    if (event.nativeEvent.isComposing) return
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault()
      submit()
    } else if (event.key === 'ArrowUp' && !text && editLast()) event.preventDefault()
  }
  return (
    <form
      className={`composer${busy ? ' busy' : ''}`}
      onSubmit={(event) => {
        event.preventDefault()
        submit()
      }}
    >
      <div className="composer-box">
        <textarea
          id="question"
          ref={area}
          rows={1}
          dir="auto"
          value={text}
          placeholder={model ? `Ask ${model.id}` : 'Ask'}
          aria-label="Your question"
          enterKeyHint="send"
          onChange={(event) => setDraft(id, event.target.value)}
          onKeyDown={key}
        />
        {busy ? (
          <button type="button" className="send stop" aria-label="Stop" title="Stop (Esc)" onClick={() => stop(id)}>
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" className="send" aria-label="Send" title="Send (Enter)" disabled={!text.trim()}>
            <Icon name="send" />
          </button>
        )}
      </div>
      <Meter conversation={conversation} model={model} open={inspecting} />
    </form>
  )
}
