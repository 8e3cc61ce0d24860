/** Conversations and commands, by a few letters. */
import { useEffect, useId, useMemo, useRef, useState, type ReactNode } from 'react'
import { conversations, current, open, remove } from '../lib/conversations'
import { excerpt, found } from '../lib/search'
import { useStore } from '../lib/store'
import { saveAll, saveJson, saveMarkdown } from '../lib/transfer'
import { show, toggle } from '../lib/view'
import { COMMAND } from './button'
import { Dialog } from './dialog'
import { nextTheme, toggleSidebar } from './header'
import { Icon, type IconName } from './icons'

interface Entry {
  key: string
  label: string
  icon: IconName
  note?: string
  run: () => void
}

/** Conversations that are listed at most. */
const MOST = 30

export function Palette(): ReactNode {
  const all = useStore(conversations)
  const [sought, setSought] = useState('')
  const [at, setAt] = useState(0)
  const list = useRef<HTMLUListElement>(null)
  const id = useId()
  const entries = useMemo(() => {
    const word = sought.trim().toLowerCase()
    const chats = found([...all.values()], sought)
      .slice(0, word ? MOST : 6)
      .map((one): Entry => ({ key: one.id, label: one.title, icon: 'chat', note: excerpt(one, sought), run: () => open(one.id) }))
    const fitting = commands().filter((one) => one.label.toLowerCase().includes(word))
    return word ? [...fitting.slice(0, 4), ...chats] : [...fitting, ...chats]
  }, [all, sought])
  const chosen = entries[Math.min(at, entries.length - 1)]

  useEffect(() => {
    list.current?.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest' })
  }, [chosen])

  const run = (entry: Entry | undefined): void => {
    if (!entry) return
    show({ dialog: null })
    // After the dialog has given the focus back to where it was.
    setTimeout(entry.run)
  }
  return (
    <Dialog label="Find a conversation or a command" className="palette">
      <label className="search">
        <Icon name="search" />
        <input
          type="search"
          role="combobox"
          aria-expanded="true"
          aria-controls={id}
          aria-activedescendant={chosen ? `${id}-${entries.indexOf(chosen)}` : undefined}
          aria-label="Find a conversation or a command"
          placeholder="Find a conversation or a command"
          autoFocus
          value={sought}
          onChange={(event) => {
            setSought(event.target.value)
            setAt(0)
          }}
          onKeyDown={(event) => {
            const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
            if (step) {
              event.preventDefault()
              setAt((now) => (Math.min(now, entries.length - 1) + step + entries.length) % entries.length)
            } else if (event.key === 'Enter') {
              event.preventDefault()
              run(chosen)
            } else if ((event.ctrlKey || event.metaKey) && event.key === 'k') {
              event.preventDefault()
              show({ dialog: null })
            }
          }}
        />
        <kbd>Esc</kbd>
      </label>
      <ul role="listbox" id={id} ref={list} aria-label="Found">
        {entries.map((entry, index) => (
          <li
            key={entry.key}
            id={`${id}-${index}`}
            role="option"
            aria-selected={entry === chosen}
            onPointerMove={() => setAt(index)}
            onClick={() => run(entry)}
          >
            <Icon name={entry.icon} />
            <span className="palette-label">{entry.label}</span>
            {entry.note && <span className="palette-note">{entry.note}</span>}
          </li>
        ))}
      </ul>
      {!entries.length && <p className="nothing">Nothing is found.</p>}
    </Dialog>
  )
}

function commands(): Entry[] {
  const command = (label: string, icon: IconName, run: () => void, note?: string): Entry => ({ key: `> ${label}`, label, icon, run, ...(note ? { note } : {}) })
  const id = current.get()
  const here = id === null ? undefined : conversations.get().get(id)
  return [
    command('New chat', 'plus', () => open(null), `${COMMAND}Shift+O`),
    command('Prompt inspector', 'lens', () => toggle('inspector'), `${COMMAND}I`),
    command('Settings', 'sliders', () => toggle('settings'), `${COMMAND},`),
    command('Conversations', 'sidebar', toggleSidebar, `${COMMAND}B`),
    command('Change the theme', 'half', nextTheme),
    command('API key', 'key', () => show({ dialog: 'key' })),
    command('Keyboard shortcuts', 'keyboard', () => show({ dialog: 'shortcuts' }), '?'),
    ...(here
      ? [
          command('Export this chat as Markdown', 'download', () => saveMarkdown(here)),
          command('Export this chat as JSON', 'download', () => saveJson(here)),
          command('Delete this chat', 'trash', () => remove(here.id)),
        ]
      : []),
    command('Export all chats', 'download', saveAll),
  ]
}
