/** How the model is asked, in this conversation. What is left empty is the server's to choose. */
import { useId, type ReactNode } from 'react'
import { change } from '../lib/conversations'
import { notify } from '../lib/notices'
import { defaults } from '../lib/prefs'
import type { Conversation, Settings } from '../lib/types'
import { Panel } from './panel'

type Numeric = 'temperature' | 'top_p' | 'top_k' | 'min_p' | 'repeat_penalty' | 'max_tokens' | 'seed'

interface Field {
  name: Numeric
  label: string
  about: string
  min: number
  max: number
  step: number
  /** For a slider; others are numbers to type. */
  slides?: boolean
}

const FIELDS: Field[] = [
  { name: 'temperature', label: 'Temperature', about: '0 takes the likeliest token', min: 0, max: 2, step: 0.05, slides: true },
  { name: 'top_p', label: 'Top p', about: 'the likeliest that add up to p', min: 0, max: 1, step: 0.01, slides: true },
  { name: 'min_p', label: 'Min p', about: 'relative to the likeliest', min: 0, max: 1, step: 0.01, slides: true },
  { name: 'repeat_penalty', label: 'Repeat penalty', about: '1 is none', min: 0.5, max: 2, step: 0.01, slides: true },
  { name: 'top_k', label: 'Top k', about: '0 is all', min: 0, max: 100_000, step: 1 },
  { name: 'max_tokens', label: 'Max tokens', about: 'of an answer', min: 1, max: 10_000_000, step: 1 },
  { name: 'seed', label: 'Seed', about: 'repeats an answer', min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 },
]

export function SettingsPanel({ conversation }: { conversation: Conversation }): ReactNode {
  const { settings } = conversation
  const set = (changed: Partial<Settings>): void =>
    change(conversation.id, (one) => {
      const next = { ...one.settings, ...changed }
      for (const key of Object.keys(changed) as (keyof Settings)[]) if (next[key] === undefined) delete next[key]
      return { ...one, settings: next }
    })
  return (
    <Panel title="Settings" note="Of this conversation. What is empty is as the server has it.">
      <label className="field tall">
        <span>System prompt</span>
        <textarea rows={5} value={settings.system ?? ''} placeholder="None" onChange={(event) => set({ system: event.target.value || undefined })} />
      </label>
      {FIELDS.filter((field) => field.slides).map((field) => (
        <Slider key={field.name} field={field} value={settings[field.name]} set={(value) => set({ [field.name]: value })} />
      ))}
      <div className="field-row">
        {FIELDS.filter((field) => !field.slides).map((field) => (
          <label key={field.name} className="field" title={field.about}>
            <span>{field.label}</span>
            <NumberInput field={field} value={settings[field.name]} set={(value) => set({ [field.name]: value })} />
          </label>
        ))}
      </div>
      <label className="field tall">
        <span>Stop at</span>
        <textarea
          rows={2}
          value={settings.stop?.join('\n') ?? ''}
          placeholder="Texts that end an answer, one a line"
          onChange={(event) => set({ stop: event.target.value ? event.target.value.split('\n') : undefined })}
          onBlur={() => set({ stop: settings.stop?.filter(Boolean).length ? settings.stop.filter(Boolean) : undefined })}
        />
      </label>
      <label className="field">
        <span>
          Reasoning <small>of models that can do without</small>
        </span>
        <select
          value={settings.thinking === undefined ? '' : String(settings.thinking)}
          onChange={(event) => set({ thinking: event.target.value ? event.target.value === 'true' : undefined })}
        >
          <option value="">As the model has it</option>
          <option value="true">On</option>
          <option value="false">Off</option>
        </select>
      </label>
      <div className="panel-foot">
        <button
          type="button"
          className="button"
          onClick={() => {
            defaults.set(structuredClone(settings))
            notify('New conversations begin with these settings.')
          }}
        >
          Use for new chats
        </button>
        <button type="button" className="button" onClick={() => change(conversation.id, (one) => ({ ...one, settings: {} }))}>
          Clear all
        </button>
      </div>
    </Panel>
  )
}

interface Input {
  field: Field
  value: number | undefined
  set: (value: number | undefined) => void
}

function NumberInput({ field: { min, max, step, label }, value, set }: Input): ReactNode {
  return (
    <input
      type="number"
      inputMode="decimal"
      aria-label={label}
      min={min}
      max={max}
      step={step}
      value={value ?? ''}
      placeholder="auto"
      onChange={(event) => {
        const number = event.target.valueAsNumber
        set(Number.isFinite(number) ? Math.min(max, Math.max(min, number)) : undefined)
      }}
    />
  )
}

function Slider({ field, value, set }: Input): ReactNode {
  const id = useId()
  return (
    <div className={`field slider${value === undefined ? ' unset' : ''}`}>
      <label htmlFor={id}>
        {field.label} <small>{field.about}</small>
      </label>
      <NumberInput field={field} value={value} set={set} />
      <input
        id={id}
        type="range"
        min={field.min}
        max={field.max}
        step={field.step}
        value={value ?? (field.min + field.max) / 2}
        aria-valuetext={value === undefined ? 'as the server has it' : String(value)}
        onChange={(event) => set(event.target.valueAsNumber)}
      />
    </div>
  )
}
