/** The page as a whole. */
import { useEffect, useState, type ReactNode } from 'react'
import { blank, conversations, current, loaded, opened } from '../lib/conversations'
import { lastModel, sidebarOpen } from '../lib/prefs'
import { running } from '../lib/running'
import { pick, server } from '../lib/server'
import { useStore } from '../lib/store'
import { show, shown } from '../lib/view'
import { Banner } from './banner'
import { Composer } from './composer'
import { Header } from './header'
import { Inspector } from './inspector'
import { KeyDialog } from './key-dialog'
import { Notices } from './notices'
import { Palette } from './palette'
import { SettingsPanel } from './settings'
import { ShortcutsDialog, useShortcuts } from './shortcuts'
import { Scrim, Sidebar } from './sidebar'
import { Thread } from './thread'
import { Welcome } from './welcome'

export function App(): ReactNode {
  const all = useStore(conversations)
  const id = useStore(current)
  const empty = useStore(blank)
  const there = useStore(loaded)
  const wide = useStore(sidebarOpen)
  const { panel, dialog, drawer } = useStore(shown)
  const models = useStore(server, (now) => now.models)
  const preferred = useStore(lastModel)
  const conversation = opened(all, id, empty)
  const model = pick(models, conversation.model, preferred)
  useShortcuts()
  useLockedDialog()
  useEffect(() => {
    document.title = id === null ? 'Heron' : `${conversation.title} · Heron`
  }, [id, conversation.title])
  return (
    <div className={`app${wide ? '' : ' no-sidebar'}${drawer ? ' drawer' : ''}${panel ? ' with-panel' : ''}`}>
      <Sidebar />
      <Scrim />
      <main className="main">
        <Header conversation={conversation} model={model} />
        <Banner />
        {conversation.messages.length ? <Thread conversation={conversation} /> : there ? <Welcome model={model} /> : <div className="thread-frame" />}
        <Composer conversation={conversation} model={model} />
        <Spoken id={conversation.id} />
      </main>
      {panel === 'settings' && <SettingsPanel conversation={conversation} />}
      {panel === 'inspector' && <Inspector conversation={conversation} model={model} />}
      {dialog === 'palette' && <Palette />}
      {dialog === 'shortcuts' && <ShortcutsDialog />}
      {dialog === 'key' && <KeyDialog />}
      <Notices />
    </div>
  )
}

/** A server that wants a key is given the chance to get one, once for each time that it begins to. */
function useLockedDialog(): void {
  const locked = useStore(server, (now) => now.status === 'locked')
  useEffect(() => {
    if (locked) show({ dialog: 'key' })
  }, [locked])
}

/** For those who hear the page: that an answer has begun and ended, and not each of its words. */
function Spoken({ id }: { id: string }): ReactNode {
  const busy = useStore(running, (all) => all.has(id))
  const [before, setBefore] = useState(busy)
  const [said, setSaid] = useState('')
  if (busy !== before) {
    setBefore(busy)
    setSaid(busy ? 'Answering.' : 'The answer is complete.')
  }
  return (
    <p className="unseen" role="status">
      {said}
    </p>
  )
}
