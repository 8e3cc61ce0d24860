/** What of the page is open beside the conversation. */
import { Store } from './store'

export interface View {
  panel: 'settings' | 'inspector' | null
  dialog: 'palette' | 'shortcuts' | 'key' | null
  /** The list of conversations on a narrow screen, where it lies over the page. */
  drawer: boolean
  /** The message that is being edited. */
  editing: string | null
}

export const shown = new Store<View>({ panel: null, dialog: null, drawer: false, editing: null })

export const show = (change: Partial<View>): void => shown.update((view) => ({ ...view, ...change }))

export const toggle = (panel: NonNullable<View['panel']>): void =>
  shown.update((view) => ({ ...view, panel: view.panel === panel ? null : panel }))

/** What is written and not sent, by conversation. */
export const drafts = new Store<ReadonlyMap<string, string>>(new Map())

export const setDraft = (id: string, text: string): void => drafts.update((all) => new Map(all).set(id, text))

export const focusComposer = (): void => document.querySelector<HTMLTextAreaElement>('#question')?.focus()
