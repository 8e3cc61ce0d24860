/** The key of a server that wants one. */
import { useState, type ReactNode } from 'react'
import { apiKey } from '../lib/prefs'
import { server } from '../lib/server'
import { useStore } from '../lib/store'
import { show } from '../lib/view'
import { Dialog } from './dialog'

export function KeyDialog(): ReactNode {
  const [key, setKey] = useState(apiKey.get())
  const locked = useStore(server, (now) => now.status === 'locked')
  return (
    <Dialog label="API key" className="small">
      <form
        onSubmit={(event) => {
          event.preventDefault()
          apiKey.set(key.trim())
          show({ dialog: null })
        }}
      >
        <h2>API key</h2>
        <p>{locked ? (apiKey.get() ? 'The server does not know this key.' : 'This server answers to those who have a key.') : 'For a server that wants one.'}</p>
        <label className="field">
          <span>Key</span>
          <input type="password" value={key} autoComplete="off" spellCheck={false} autoFocus onChange={(event) => setKey(event.target.value)} />
        </label>
        <p className="fine">It is kept in this browser, and sent to this server alone.</p>
        <div className="dialog-foot">
          <button type="button" className="button" onClick={() => show({ dialog: null })}>
            Cancel
          </button>
          <button type="submit" className="button primary">
            Save
          </button>
        </div>
      </form>
    </Dialog>
  )
}
