/** Which model answers. */
import type { ReactNode } from 'react'
import { change } from '../lib/conversations'
import { bytes, short } from '../lib/format'
import { lastModel } from '../lib/prefs'
import { canChat, refresh, server } from '../lib/server'
import { useStore } from '../lib/store'
import type { Conversation, Model } from '../lib/types'
import { Icon } from './icons'
import { Menu, type Item } from './menu'

export function ModelPicker({ conversation, model }: { conversation: Conversation; model: Model | undefined }): ReactNode {
  const models = useStore(server, (now) => now.models)
  const choose = (id: string): void => {
    lastModel.set(id)
    change(conversation.id, (one) => ({ ...one, model: id }))
  }
  const items = models.map(
    (one): Item => ({
      label: one.id,
      note: about(one),
      checked: one.id === model?.id,
      disabled: !canChat(one),
      icon: <i className={`light ${one.status ?? 'loaded'}`} />,
      run: () => choose(one.id),
    }),
  )
  if (!items.length) items.push({ label: 'No models are known yet', disabled: true, run: () => {} })
  return (
    <Menu
      className="model-picker"
      buttonClass="model-button"
      label={`Model: ${model?.id ?? 'none'}`}
      title={model ? about(model) : 'Model'}
      onOpen={() => void refresh()}
      items={items}
      button={
        <>
          <i className={`light ${model ? (model.status ?? 'loaded') : 'unloaded'}`} />
          <span className="model-name">{model?.id ?? 'No model'}</span>
          <Icon name="down" />
        </>
      }
    />
  )
}

function about(model: Model): string {
  const parts = [
    model.context_length ? `${short(model.context_length)} context` : '',
    model.bytes ? bytes(model.bytes) : '',
    model.status ?? '',
    canChat(model) ? '' : (model.capabilities?.join(', ') ?? 'no chat'),
  ]
  return parts.filter(Boolean).join(' · ')
}
