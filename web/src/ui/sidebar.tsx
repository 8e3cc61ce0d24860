/** The conversations of this browser. */
import { useDeferredValue, useEffect, useMemo, useRef, useState, type ReactNode } from 'react'
import { change, conversations, current, open, remove } from '../lib/conversations'
import { age } from '../lib/format'
import { running } from '../lib/running'
import { found } from '../lib/search'
import { useStore } from '../lib/store'
import { importFile, saveAll, saveJson, saveMarkdown } from '../lib/transfer'
import type { Conversation } from '../lib/types'
import { show, shown } from '../lib/view'
import { COMMAND, IconButton } from './button'
import { Heron, Icon } from './icons'
import { Menu } from './menu'

export function Sidebar(): ReactNode {
  const all = useStore(conversations)
  const [sought, setSought] = useState('')
  const later = useDeferredValue(sought)
  const listed = useMemo(() => found([...all.values()], later), [all, later])
  const file = useRef<HTMLInputElement>(null)
  return (
    <nav className="sidebar" aria-label="Conversations">
      <div className="sidebar-head">
        <Heron />
        <span className="wordmark">Heron</span>
        <IconButton className="only-narrow" icon="close" label="Close" onClick={() => show({ drawer: false })} />
      </div>
      <button type="button" className="new-chat" onClick={() => go(null)} title={`New chat (${COMMAND}Shift+O)`}>
        <Icon name="plus" /> New chat
      </button>
      <label className="search">
        <Icon name="search" />
        <input type="search" placeholder="Search" aria-label="Search conversations" value={sought} onChange={(event) => setSought(event.target.value)} />
        <kbd>{COMMAND}K</kbd>
      </label>
      <div className="list">
        <List listed={listed} sought={later.trim()} />
      </div>
      <div className="sidebar-foot">
        <button type="button" onClick={() => file.current?.click()}>
          <Icon name="upload" /> Import
        </button>
        <button type="button" disabled={!all.size} onClick={saveAll}>
          <Icon name="download" /> Export all
        </button>
        <input
          ref={file}
          type="file"
          accept="application/json,.json"
          hidden
          aria-label="A file of conversations"
          onChange={(event) => {
            const chosen = event.target.files?.[0]
            if (chosen) void importFile(chosen)
            event.target.value = ''
          }}
        />
      </div>
    </nav>
  )
}

function go(id: string | null): void {
  open(id)
  show({ drawer: false, editing: null })
}

function List({ listed, sought }: { listed: Conversation[]; sought: string }): ReactNode {
  if (!listed.length) return <p className="nothing">{sought ? 'Nothing is found.' : 'Conversations are kept in this browser, and nowhere else.'}</p>
  const now = Date.now()
  const groups = Map.groupBy(listed, (one) => age(one.updated, now))
  return [...groups].map(([heading, members]) => (
    <section key={heading}>
      <h2>{heading}</h2>
      <ul>
        {members.map((one) => (
          <Row key={one.id} conversation={one} />
        ))}
      </ul>
    </section>
  ))
}

function Row({ conversation }: { conversation: Conversation }): ReactNode {
  const { id, title } = conversation
  const isOpen = useStore(current, (open) => open === id)
  const busy = useStore(running, (all) => all.has(id))
  const [renaming, setRenaming] = useState(false)
  if (renaming) return <Rename conversation={conversation} done={() => setRenaming(false)} />
  return (
    <li className={`row${isOpen ? ' open' : ''}`}>
      <button
        type="button"
        className="row-title"
        aria-current={isOpen ? 'page' : undefined}
        title={title}
        onClick={() => go(id)}
        onDoubleClick={() => setRenaming(true)}
        onKeyDown={(event) => {
          if (event.key === 'F2') setRenaming(true)
          if (event.key === 'Delete') remove(id)
        }}
      >
        {busy && <i className="light loading" aria-label="Answering" role="img" />}
        <span>{title}</span>
      </button>
      <Menu
        label={`More about ${title}`}
        title="More"
        button={<Icon name="more" />}
        items={[
          { label: 'Rename', icon: <Icon name="edit" />, note: 'F2', run: () => setRenaming(true) },
          { label: 'Export as Markdown', icon: <Icon name="download" />, run: () => saveMarkdown(conversation) },
          { label: 'Export as JSON', icon: <Icon name="download" />, run: () => saveJson(conversation) },
          { label: 'Delete', icon: <Icon name="trash" />, note: 'Del', danger: true, run: () => remove(id) },
        ]}
      />
    </li>
  )
}

function Rename({ conversation, done }: { conversation: Conversation; done: () => void }): ReactNode {
  const [title, setTitle] = useState(conversation.title)
  const field = useRef<HTMLInputElement>(null)
  useEffect(() => field.current?.select(), [])
  const save = (): void => {
    if (title.trim()) change(conversation.id, (one) => ({ ...one, title: title.trim().slice(0, 300), named: true }))
    done()
  }
  return (
    <li className="row renaming">
      <input
        ref={field}
        aria-label="Name of the conversation"
        value={title}
        onChange={(event) => setTitle(event.target.value)}
        onBlur={save}
        onKeyDown={(event) => {
          if (event.key === 'Enter') save()
          if (event.key === 'Escape') {
            event.stopPropagation()
            done()
          }
        }}
      />
    </li>
  )
}

/** On a narrow screen the list lies over the page: a touch beside it puts it away. */
export function Scrim(): ReactNode {
  const drawer = useStore(shown, (view) => view.drawer)
  return drawer ? <div className="scrim" onClick={() => show({ drawer: false })} /> : null
}
