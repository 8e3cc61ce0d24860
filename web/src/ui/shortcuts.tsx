/** What the keyboard does: one list for those who press and those who look. */
import { useEffect, type ReactNode } from 'react'
import { current, open } from '../lib/conversations'
import { running, stop } from '../lib/running'
import { focusComposer, show, shown, toggle } from '../lib/view'
import { COMMAND } from './button'
import { Dialog } from './dialog'
import { toggleSidebar } from './header'

const LISTED: [string, string[]][] = [
  ['Send', ['Enter']],
  ['New line', ['Shift+Enter']],
  ['Stop the answer', ['Esc']],
  ['Edit the last question', ['↑']],
  ['Another answer', ['R']],
  ['Write', ['/']],
  ['Find a conversation or a command', [`${COMMAND}K`]],
  ['New chat', [`${COMMAND}Shift+O`]],
  ['Conversations', [`${COMMAND}B`]],
  ['Prompt inspector', [`${COMMAND}I`]],
  ['Settings', [`${COMMAND},`]],
  ['Rename, delete in the list', ['F2', 'Del']],
  ['These shortcuts', ['?']],
]

export function ShortcutsDialog(): ReactNode {
  return (
    <Dialog label="Keyboard shortcuts" className="small">
      <h2>Keyboard shortcuts</h2>
      <dl className="shortcuts">
        {LISTED.map(([what, keys]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
      <form method="dialog" className="dialog-foot">
        <button className="button primary" autoFocus>
          Close
        </button>
      </form>
    </Dialog>
  )
}

const WITH_COMMAND: Record<string, () => void> = {
  k: () => show({ dialog: shown.get().dialog === 'palette' ? null : 'palette' }),
  b: toggleSidebar,
  i: () => toggle('inspector'),
  ',': () => toggle('settings'),
}

const ALONE: Record<string, () => void> = {
  '/': focusComposer,
  '?': () => show({ dialog: 'shortcuts' }),
  r: () => document.querySelector<HTMLElement>('.answer.last [data-again]')?.click(),
}

function pressed(event: KeyboardEvent): void {
  if (event.isComposing || event.defaultPrevented) return
  const key = event.key.toLowerCase()
  const command = (event.metaKey || event.ctrlKey) && !event.altKey
  const typing = (event.target as HTMLElement).matches?.('input, textarea, select')
  let run: (() => void) | undefined
  if (command && event.shiftKey) run = key === 'o' ? () => open(null) : undefined
  else if (command) run = WITH_COMMAND[key]
  else if (key === 'escape') run = escape
  else if (!typing && !event.altKey) run = ALONE[key]
  if (!run) return
  if (key !== 'escape') event.preventDefault()
  run()
}

/** The answer first; then what lies over the page. */
function escape(): void {
  const id = current.get()
  const { drawer, panel } = shown.get()
  if (id !== null && running.get().has(id)) stop(id)
  else if (drawer) show({ drawer: false })
  else if (panel) {
    show({ panel: null })
    focusComposer()
  }
}

export function useShortcuts(): void {
  useEffect(() => {
    document.addEventListener('keydown', pressed)
    return () => document.removeEventListener('keydown', pressed)
  }, [])
}
