/** Above the conversation: its model, its name, and what can be opened beside it. */
import type { ReactNode } from 'react'
import { conversations, open, remove } from '../lib/conversations'
import { sidebarOpen, theme, type Theme } from '../lib/prefs'
import { useStore } from '../lib/store'
import { saveJson, saveMarkdown } from '../lib/transfer'
import type { Conversation, Model } from '../lib/types'
import { show, shown, toggle } from '../lib/view'
import { COMMAND, IconButton } from './button'
import { Icon } from './icons'
import { Menu } from './menu'
import { ModelPicker } from './model-picker'

const THEMES: Record<Theme, { next: Theme; icon: 'half' | 'sun' | 'moon'; label: string }> = {
  system: { next: 'light', icon: 'half', label: 'Theme: the system’s' },
  light: { next: 'dark', icon: 'sun', label: 'Theme: light' },
  dark: { next: 'system', icon: 'moon', label: 'Theme: dark' },
}

export function toggleSidebar(): void {
  if (matchMedia('(max-width: 900px)').matches) show({ drawer: !shown.get().drawer })
  else sidebarOpen.update((is) => !is)
}

export const nextTheme = (): void => theme.update((now) => THEMES[now].next)

export function Header({ conversation, model }: { conversation: Conversation; model: Model | undefined }): ReactNode {
  const { panel, drawer } = useStore(shown)
  const wide = useStore(sidebarOpen)
  const { icon, label } = THEMES[useStore(theme)]
  const kept = useStore(conversations, (all) => all.has(conversation.id))
  return (
    <header className="header">
      <IconButton icon="sidebar" label="Conversations" keys={`${COMMAND}B`} aria-expanded={drawer || wide} onClick={toggleSidebar} />
      <IconButton className="only-narrow" icon="plus" label="New chat" onClick={() => open(null)} />
      <ModelPicker conversation={conversation} model={model} />
      <h1 className="header-title">{kept ? conversation.title : ''}</h1>
      <IconButton className="only-wide" icon={icon} label={label} onClick={nextTheme} />
      <IconButton icon="sliders" label="Settings" keys={`${COMMAND},`} aria-pressed={panel === 'settings'} onClick={() => toggle('settings')} />
      <IconButton icon="lens" label="Prompt inspector" keys={`${COMMAND}I`} aria-pressed={panel === 'inspector'} onClick={() => toggle('inspector')} />
      <Menu
        label="More"
        button={<Icon name="more" />}
        items={[
          { label: 'Export as Markdown', icon: <Icon name="download" />, disabled: !kept, run: () => saveMarkdown(conversation) },
          { label: 'Export as JSON', icon: <Icon name="download" />, disabled: !kept, run: () => saveJson(conversation) },
          { label, icon: <Icon name={icon} />, run: nextTheme },
          { label: 'API key', icon: <Icon name="key" />, run: () => show({ dialog: 'key' }) },
          { label: 'Keyboard shortcuts', icon: <Icon name="keyboard" />, note: '?', run: () => show({ dialog: 'shortcuts' }) },
          { label: 'Delete chat', icon: <Icon name="trash" />, danger: true, disabled: !kept, run: () => remove(conversation.id) },
        ]}
      />
    </header>
  )
}
