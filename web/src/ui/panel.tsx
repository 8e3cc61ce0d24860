/** What lies beside the conversation; over it, where the screen is narrow. */
import { useEffect, useRef, type ReactNode } from 'react'
import { show } from '../lib/view'
import { IconButton } from './button'

export function Panel({ title, note, children, className = '' }: { title: string; note?: ReactNode; children: ReactNode; className?: string }): ReactNode {
  const close = useRef<HTMLElement>(null)
  useEffect(() => {
    if (matchMedia('(max-width: 1180px)').matches) close.current?.focus()
  }, [])
  return (
    <aside className={`panel ${className}`} aria-label={title} ref={close} tabIndex={-1}>
      <div className="panel-head">
        <h2>{title}</h2>
        <IconButton icon="close" label={`Close ${title.toLowerCase()}`} onClick={() => show({ panel: null })} />
      </div>
      {note && <p className="panel-note">{note}</p>}
      {children}
    </aside>
  )
}
