/** What is wrong with the server, while something is. */
import type { ReactNode } from 'react'
import { refresh, server, type Status } from '../lib/server'
import { useStore } from '../lib/store'
import { show } from '../lib/view'
import { useSecondsTo } from './message'

const WORDS: Partial<Record<Status, string>> = {
  loading: 'The model is being loaded …',
  draining: 'The server is stopping.',
  away: 'The server cannot be reached.',
  locked: 'The server wants an API key.',
}

export function Banner(): ReactNode {
  const { status, next } = useStore(server)
  const left = useSecondsTo(status === 'away' || status === 'draining' ? next : null)
  const words = WORDS[status]
  return (
    <div role="status" className="banner-place">
      {words && (
        <div className={`banner ${status}`}>
          <span>
            {words} {left > 0 && <span className="banner-count">Looking again in {left} s.</span>}
          </span>
          {status === 'locked' ? (
            <button type="button" className="button" onClick={() => show({ dialog: 'key' })}>
              Enter a key
            </button>
          ) : (
            status !== 'loading' && (
              <button type="button" className="button" onClick={() => void refresh()}>
                Look now
              </button>
            )
          )}
        </div>
      )}
    </div>
  )
}
