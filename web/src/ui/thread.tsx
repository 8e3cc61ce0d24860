/** The conversation, which stays at its end while it grows, unless the reader has gone up. */
import { useCallback, useEffect, useLayoutEffect, useRef, useState, type ReactNode } from 'react'
import { siblings, path } from '../lib/tree'
import type { Conversation } from '../lib/types'
import { Icon } from './icons'
import { MessageView } from './message'

/** Pixels from the end that count as being there. */
const NEAR = 40

export function Thread({ conversation }: { conversation: Conversation }): ReactNode {
  const scroller = useRef<HTMLDivElement>(null)
  const content = useRef<HTMLDivElement>(null)
  const following = useRef(true)
  const [away, setAway] = useState(false)

  const toEnd = useCallback((): void => {
    const element = scroller.current
    if (element) element.scrollTop = element.scrollHeight
  }, [])

  useEffect(() => {
    const element = scroller.current!
    let before = element.scrollTop
    const scrolled = (): void => {
      const left = element.scrollHeight - element.clientHeight - element.scrollTop
      if (left < NEAR) following.current = true
      else if (element.scrollTop < before) following.current = false // up: the reader's wish, since the page only goes down
      before = element.scrollTop
      setAway(left >= NEAR && !following.current)
    }
    // At once, before what grows under the wheel takes the reader back down.
    const wheel = (event: WheelEvent): void => {
      if (event.deltaY < 0 && element.scrollHeight > element.clientHeight) following.current = false
    }
    element.addEventListener('scroll', scrolled, { passive: true })
    element.addEventListener('wheel', wheel, { passive: true })
    const grown = new ResizeObserver(() => following.current && toEnd())
    grown.observe(content.current!)
    grown.observe(element)
    return () => {
      element.removeEventListener('scroll', scrolled)
      element.removeEventListener('wheel', wheel)
      grown.disconnect()
    }
  }, [toEnd])

  // Another conversation, or a question of one's own, is read at its end.
  const questions = conversation.messages.reduce((count, message) => count + Number(message.role === 'user'), 0)
  useLayoutEffect(() => {
    following.current = true
    setAway(false)
    toEnd()
  }, [conversation.id, questions, toEnd])

  const messages = path(conversation)
  return (
    <div className="thread-frame">
      <div className="thread" ref={scroller} tabIndex={0} role="region" aria-label="Conversation">
        <div className="thread-content" ref={content}>
          {messages.map((message, at) => (
            <MessageView
              key={message.id}
              conversation={conversation.id}
              message={message}
              versions={siblings(conversation, message).map((other) => other.id)}
              last={at === messages.length - 1}
            />
          ))}
        </div>
      </div>
      {away && (
        <button
          type="button"
          className="to-end"
          onClick={() => {
            following.current = true
            toEnd()
          }}
        >
          <Icon name="down" /> Latest
        </button>
      )}
    </div>
  )
}
