/** Notes at the foot of the page. */
import { useEffect, useState, type ReactNode } from 'react'
import { dismiss, notices, type Notice } from '../lib/notices'
import { useStore } from '../lib/store'
import { IconButton } from './button'

/** Milliseconds that a note stays, unless it is looked at. */
const STAY = 7000

export function Notices(): ReactNode {
  const all = useStore(notices)
  return (
    <div className="notices" role="region" aria-label="Notes" aria-live="polite">
      {all.map((notice) => (
        <One key={notice.id} notice={notice} />
      ))}
    </div>
  )
}

function One({ notice: { id, text, kind, action } }: { notice: Notice }): ReactNode {
  const [held, setHeld] = useState(false)
  useEffect(() => {
    if (held || kind === 'error') return
    const timer = setTimeout(() => dismiss(id), STAY)
    return () => clearTimeout(timer)
  }, [held, id, kind])
  return (
    <div
      className={`notice ${kind}`}
      onPointerEnter={() => setHeld(true)}
      onPointerLeave={() => setHeld(false)}
      onFocus={() => setHeld(true)}
      onBlur={() => setHeld(false)}
    >
      <span>{text}</span>
      {action && (
        <button
          type="button"
          className="button"
          onClick={() => {
            dismiss(id)
            action.run()
          }}
        >
          {action.label}
        </button>
      )}
      <IconButton icon="close" label="Dismiss" onClick={() => dismiss(id)} />
    </div>
  )
}
