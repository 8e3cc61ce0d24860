/** A button that is a drawing, with its name for those who do not see it. */
import type { ButtonHTMLAttributes, ReactNode } from 'react'
import { Icon, type IconName } from './icons'

interface Props extends ButtonHTMLAttributes<HTMLButtonElement> {
  icon: IconName
  label: string
  keys?: string
}

export function IconButton({ icon, label, keys, className, ...rest }: Props): ReactNode {
  return (
    <button type="button" className={`icon-button ${className ?? ''}`} aria-label={label} title={keys ? `${label} (${keys})` : label} {...rest}>
      <Icon name={icon} />
    </button>
  )
}

/** ⌘ where there is one. */
export const COMMAND = /Mac|iPhone|iPad/.test(navigator.platform) ? '⌘' : 'Ctrl+'
