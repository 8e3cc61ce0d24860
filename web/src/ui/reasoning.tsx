/** What a model thinks before it answers: open while it does, closed after. */
import { useEffect, useRef, useState, type ReactNode } from 'react'
import { seconds as inSeconds } from '../lib/format'
import { Icon } from './icons'
import { Markdown } from './markdown'

export function Reasoning({ text, live, seconds }: { text: string; live: boolean; seconds?: number | undefined }): ReactNode {
  const [opened, setOpened] = useState<boolean | null>(null) // null: nobody chose
  const open = opened ?? live
  const body = useRef<HTMLDivElement>(null)
  useEffect(() => {
    if (live && body.current) body.current.scrollTop = body.current.scrollHeight
  }, [live, text])
  return (
    <section className={`reasoning${live ? ' thinking' : ''}`}>
      <button type="button" aria-expanded={open} onClick={() => setOpened(!open)}>
        <Icon name={open ? 'down' : 'right'} />
        {live ? 'Thinking …' : seconds === undefined ? 'Reasoning' : `Thought for ${inSeconds(seconds)}`}
      </button>
      {open && (
        <div className="reasoning-body" ref={body}>
          <Markdown text={text} live={live} />
        </div>
      )}
    </section>
  )
}
